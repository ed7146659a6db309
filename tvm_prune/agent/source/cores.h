// The cores that a session runs on.
#pragma once

#include <string>
#include <vector>

namespace agent {

// Those that this process may use.
std::vector<int> Cores();

// Confines this process, and the threads that TVM will start in it, to cores: "4,5".
// Throws where this board has no such cores.
void UseCores(const std::string& list);

}  // namespace agent
