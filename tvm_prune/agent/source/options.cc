#include "options.h"

#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>

namespace agent {
namespace {

constexpr char kUsage[] =
    R"(tvm-prune-agent: lets other machines run TVM code here; it trusts who knows its key.

  --key NAME           what this board is called at the tracker (required)
  --tracker HOST:PORT  register there; who uses the board asks the tracker for it
  --host ADDRESS       listen at this address only (default 127.0.0.1: only this machine)
  --port FIRST[-LAST]  listen at the first of these ports that is free (default 9090-9199)
  --advertise HOST     what the tracker tells others; by default where the tracker sees us
  --allow-key NAME     serve clients that come without a tracker and say this; may be repeated
                       (default: without a tracker --key, with a tracker nobody)
  --work DIR           where sessions keep their files until they end (default in $TMPDIR)
  --keep DIR           sessions may leave files here for good (default: they may not)
  --clock NAME         what this board's clock counts (default seconds)
  --cpu NAME           what clients are told that this board's processor is
)";

[[noreturn]] void Refuse(const std::string& sentence) {
  std::cerr << "tvm-prune-agent: " << sentence << " See --help." << std::endl;
  std::exit(2);
}

bool IsName(const std::string& text) {
  const char* allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !text.empty() && text.find_first_not_of(allowed) == std::string::npos;
}

std::string Name(const std::string& option, const std::string& text) {
  if (!IsName(text)) {
    Refuse(option + " is '" + text + "'; a name consists of letters, digits, '.', '_' and '-'.");
  }
  return text;
}

void ParsePorts(const std::string& text, Options* options) {
  char* end = nullptr;
  const long first = std::strtol(text.c_str(), &end, 10);
  const long last = *end == '-' ? std::strtol(end + 1, &end, 10) : first;
  if (*end != '\0' || first < 1 || last > 65535 || last < first) {
    Refuse("--port is '" + text + "'; write a port or a range, for example 9090-9099.");
  }
  options->port = static_cast<int>(first);
  options->last_port = static_cast<int>(last);
}

}  // namespace

Options ParseOptions(int count, char** arguments) {
  Options options;
  using Setter = std::function<void(const std::string&)>;
  const std::map<std::string, Setter> setters = {
      {"--key", [&](const std::string& text) { options.key = Name("--key", text); }},
      {"--tracker",
       [&](const std::string& text) {
         options.tracker = ParseAddress(text);
         if (!options.tracker) Refuse("--tracker is '" + text + "'; write HOST:PORT.");
       }},
      {"--host", [&](const std::string& text) { options.host = text; }},
      {"--port", [&](const std::string& text) { ParsePorts(text, &options); }},
      {"--advertise", [&](const std::string& text) { options.advertised = text; }},
      {"--allow-key",
       [&](const std::string& text) {
         options.allowed_keys.push_back(Name("--allow-key", text));
       }},
      {"--work", [&](const std::string& text) { options.work = text; }},
      {"--keep", [&](const std::string& text) { options.keep = text; }},
      {"--clock", [&](const std::string& text) { options.clock = Name("--clock", text); }},
      {"--cpu", [&](const std::string& text) { options.cpu = Name("--cpu", text); }},
  };
  for (int index = 1; index < count; ++index) {
    const std::string option = arguments[index];
    if (option == "--help") {
      std::cout << kUsage;
      std::exit(0);
    }
    const auto setter = setters.find(option);
    if (setter == setters.end()) Refuse("There is no option '" + option + "'.");
    if (++index == count) Refuse(option + " needs a value.");
    setter->second(arguments[index]);
  }
  if (options.key.empty()) Refuse("--key is missing: what is this board called?");
  if (!options.tracker && options.allowed_keys.empty()) options.allowed_keys = {options.key};
  return options;
}

std::string DefaultWork(int port) {
  const char* base = std::getenv("TMPDIR");
  const std::string folder = base != nullptr && *base != '\0' ? base : "/tmp";
  return folder + "/tvm-prune-agent-" + std::to_string(getuid()) + "-" + std::to_string(port);
}

}  // namespace agent
