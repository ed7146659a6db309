// What a board tells about itself.
#pragma once

#include <string>

namespace agent {

// The machine as uname calls it, for example aarch64.
std::string Machine();

// Features of the processor's instruction set, separated by blanks.
std::string Features();

// JSON: machine, features, cores, clock, processor, and frequency, governor, temperature where known.
std::string Describe(const std::string& clock, const std::string& cpu);

// Why a library cannot be loaded here; empty where nothing speaks against it.
std::string WrongArchitecture(const std::string& path);

}  // namespace agent
