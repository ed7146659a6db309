// What a session may ask for besides what TVM's runtime offers.
#pragma once

#include <string>

#include "options.h"

namespace agent {

// Register the functions of a session whose files live in `folder`.
void RegisterFunctions(const Options& options, const std::string& folder);

}  // namespace agent
