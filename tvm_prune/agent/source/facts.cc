#include "facts.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/utsname.h>

#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

#include "cores.h"

namespace agent {
namespace {

const std::map<int, std::string> kMachines = {
    {EM_AARCH64, "aarch64"}, {EM_ARM, "arm"},     {EM_X86_64, "x86_64"},
    {EM_386, "i386"},        {EM_RISCV, "riscv"},
};

#if defined(__aarch64__)
constexpr int kOwnMachine = EM_AARCH64;
// Bits of AT_HWCAP, by the kernel's names; /proc/cpuinfo is the host's under emulation.
const std::pair<unsigned long, const char*> kFeatures[] = {
    {1ul << 0, "fp"},       {1ul << 1, "asimd"},    {1ul << 3, "aes"},     {1ul << 4, "pmull"},
    {1ul << 5, "sha1"},     {1ul << 6, "sha2"},     {1ul << 7, "crc32"},   {1ul << 8, "atomics"},
    {1ul << 9, "fphp"},     {1ul << 10, "asimdhp"}, {1ul << 13, "jscvt"},  {1ul << 14, "fcma"},
    {1ul << 15, "lrcpc"},   {1ul << 17, "sha3"},    {1ul << 20, "asimddp"}, {1ul << 22, "sve"},
    {1ul << 23, "asimdfhm"},
};
#elif defined(__arm__)
constexpr int kOwnMachine = EM_ARM;
const std::pair<unsigned long, const char*> kFeatures[] = {
    {1ul << 1, "half"}, {1ul << 6, "vfp"}, {1ul << 12, "neon"}, {1ul << 16, "vfpv4"},
};
#else
constexpr int kOwnMachine = EM_X86_64;
const std::pair<unsigned long, const char*> kFeatures[] = {{0, ""}};
#endif

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The value of a line "NAME : VALUE" of /proc/cpuinfo.
std::string CpuInfo(const std::string& name) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (line.compare(0, name.size(), name) == 0 && colon != std::string::npos) {
      return line.substr(std::min(colon + 2, line.size()));
    }
  }
  return "";
}

bool IsNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

std::string Quoted(const std::string& text) {
  std::string result = "\"";
  for (const char character : text) {
    if (character == '"' || character == '\\') result += '\\';
    if (static_cast<unsigned char>(character) >= ' ') result += character;
  }
  return result + "\"";
}

}  // namespace

std::string Machine() {
  utsname names{};
  uname(&names);
  return names.machine;
}

std::string Features() {
  if (kOwnMachine == EM_X86_64) return CpuInfo("flags");
  const unsigned long bits = getauxval(AT_HWCAP);
  std::string result;
  for (const auto& [bit, name] : kFeatures) {
    if ((bits & bit) != 0) result += (result.empty() ? "" : " ") + std::string(name);
  }
  return result;
}

std::string Describe(const std::string& clock, const std::string& cpu) {
  const std::vector<int> cores = Cores();
  std::ostringstream json;
  json << "{\"machine\": " << Quoted(Machine()) << ", \"features\": " << Quoted(Features())
       << ", \"cores\": " << cores.size() << ", \"clock\": " << Quoted(clock);
  if (!cpu.empty()) json << ", \"cpu\": " << Quoted(cpu);
  const std::string first = std::to_string(cores.empty() ? 0 : cores.front());
  const std::string cpufreq = "/sys/devices/system/cpu/cpu" + first + "/cpufreq/";
  const std::string frequency = FirstLine(cpufreq + "scaling_cur_freq");
  const std::string governor = FirstLine(cpufreq + "scaling_governor");
  const std::string load = FirstLine("/proc/loadavg");
  const std::string heat = FirstLine("/sys/class/thermal/thermal_zone0/temp");
  // The Raspberry Pi's firmware; its low bits say what holds now.
  const std::string throttled = FirstLine("/sys/devices/platform/soc/soc:firmware/get_throttled");
  if (IsNumber(frequency)) json << ", \"frequency_hz\": " << frequency << "000";
  if (!governor.empty()) json << ", \"governor\": " << Quoted(governor);
  if (!load.empty()) json << ", \"load_average\": " << load.substr(0, load.find(' '));
  if (IsNumber(heat)) json << ", \"temperature_c\": " << std::stol(heat) / 1000.0;
  if (!throttled.empty()) json << ", \"throttled\": " << Quoted(throttled);
  json << "}";
  return json.str();
}

std::string WrongArchitecture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Elf64_Ehdr header{};
  file.read(reinterpret_cast<char*>(&header), sizeof(header));
  if (file.gcount() != sizeof(header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return "Failed to load: it is no ELF library";
  }
  if (header.e_machine == kOwnMachine) return "";
  const auto found = kMachines.find(header.e_machine);
  const std::string built_for =
      found != kMachines.end() ? found->second : "machine " + std::to_string(header.e_machine);
  return "Failed to load: it is built for " + built_for + ", but this board is " + Machine();
}

}  // namespace agent
