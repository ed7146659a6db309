#include "cores.h"

#include <sched.h>
#include <tvm/ffi/tvm_ffi.h>

#include <cstdlib>
#include <sstream>

namespace agent {
namespace {

std::vector<int> Parse(const std::string& list) {
  std::vector<int> cores;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) {
    char* end = nullptr;
    const long core = std::strtol(part.c_str(), &end, 10);
    if (part.empty() || *end != '\0' || core < 0 || core >= CPU_SETSIZE) {
      TVM_FFI_THROW(ValueError) << "'" << list << "' is no list of cores; write 4,5 or the like";
    }
    cores.push_back(static_cast<int>(core));
  }
  return cores;
}

std::string Text(const std::vector<int>& cores) {
  std::string text;
  for (const int core : cores) text += (text.empty() ? "" : ",") + std::to_string(core);
  return text;
}

}  // namespace

std::vector<int> Cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

void UseCores(const std::string& list) {
  const std::vector<int> wanted = Parse(list), before = Cores();
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : wanted) CPU_SET(core, &set);
  // The kernel passes over cores that are not there, as long as one is.
  const bool confined = sched_setaffinity(0, sizeof(set), &set) == 0;
  if (!confined || static_cast<int>(Cores().size()) != CPU_COUNT(&set)) {
    TVM_FFI_THROW(ValueError) << "this board cannot use the cores " << list
                              << "; the agent may use " << Text(before);
  }
  // TVM would bind its threads to the fastest cores of all; unbound ones inherit ours.
  setenv("TVM_BIND_THREADS", "0", 1);
  setenv("TVM_NUM_THREADS", std::to_string(wanted.size()).c_str(), 1);
}

}  // namespace agent
