#include "functions.h"

#include <tvm/ffi/tvm_ffi.h>
#include <tvm/ffi/extra/module.h>

#include <fstream>

#include "cores.h"
#include "facts.h"

namespace agent {
namespace {

using tvm::ffi::Function;
using tvm::ffi::Module;

constexpr char kEstimatedCycles[] = "estimated-cycles";

// The file of a session; names that lead out of its folder are refused.
std::string Inside(const std::string& folder, const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    TVM_FFI_THROW(ValueError) << "'" << name << "' is no plain file name; files of a session stay "
                              << "in its own folder";
  }
  return folder + "/" + name;
}

Module Load(const std::string& path, const std::string& clock) {
  const std::string refusal = WrongArchitecture(path);
  if (!refusal.empty()) TVM_FFI_THROW(RuntimeError) << refusal;
  if (clock == kEstimatedCycles && !std::ifstream(path + ".costs")) {
    TVM_FFI_THROW(RuntimeError) << "Failed to load: this board's clock counts estimated cycles, "
                                << "and nothing tells the costs of " << path << "; upload "
                                << path << ".costs";
  }
  return Module::LoadFromFile(path);
}

std::string Keep(const std::string& source, const std::string& folder, const std::string& name) {
  if (folder.empty()) {
    TVM_FFI_THROW(PermissionError) << "this agent keeps no files; start it with --keep DIR";
  }
  const std::string target = Inside(folder, name);
  std::ifstream from(source, std::ios::binary);
  std::ofstream to(target + ".part", std::ios::binary | std::ios::trunc);
  to << from.rdbuf();
  to.close();
  if (!from || !to || std::rename((target + ".part").c_str(), target.c_str()) != 0) {
    TVM_FFI_THROW(OSError) << "cannot write " << target;
  }
  return target;
}

}  // namespace

void RegisterFunctions(const Options& options, const std::string& folder) {
  const auto inside = [folder](std::string name) { return Inside(folder, name); };
  const auto load = [folder, clock = options.clock](std::string name) {
    return Load(Inside(folder, name), clock);
  };
  const auto describe = [clock = options.clock, cpu = options.cpu]() {
    return Describe(clock, cpu);
  };
  const auto keep = [folder, kept = options.keep](std::string file, std::string name) {
    return Keep(Inside(folder, file), kept, name);
  };
  Function::SetGlobal("tvm.rpc.server.workpath", Function::FromTyped(inside), true);
  Function::SetGlobal("tvm.rpc.server.load_module", Function::FromTyped(load), true);
  Function::SetGlobal("tvm_prune.agent.describe", Function::FromTyped(describe), true);
  Function::SetGlobal("tvm_prune.agent.use_cores", Function::FromTyped(UseCores), true);
  Function::SetGlobal("tvm_prune.agent.keep", Function::FromTyped(keep), true);
}

}  // namespace agent
