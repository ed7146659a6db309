// What the agent is told on its command line.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "wire.h"

namespace agent {

struct Options {
  std::string host = "127.0.0.1";
  int port = 9090;  // the first one to try, later the one it is
  int last_port = 9199;
  std::string key;
  std::vector<std::string> allowed_keys;
  std::optional<Address> tracker;
  std::string advertised;  // the host that the tracker tells others; what it sees where empty
  std::string work;        // folder of the sessions' folders; where empty, DefaultWork
  std::string keep;        // folder where sessions may leave files; none where empty
  std::string clock = "seconds";
  std::string cpu;  // the processor's name, told to clients; nothing is where empty
};

// Exits with 2 and a sentence where the usage is wrong, with 0 after --help.
Options ParseOptions(int count, char** arguments);

// Where sessions keep their files when the user does not say.
std::string DefaultWork(int port);

}  // namespace agent
