#include "session.h"

#include <alloca.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <tvm/ffi/tvm_ffi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "facts.h"
#include "functions.h"

namespace agent {
namespace {

// The protocol of tvm.rpc.base.
constexpr int32_t kMagic = 0xFF271;
constexpr int32_t kMismatch = kMagic + 2;
constexpr int32_t kLongestGreeting = 4096;
constexpr int kGreetingSeconds = 5;

// Of the stack, on which code runs.
constexpr uintptr_t kPageBytes = 4096;

// What a process may still do after its client is gone.
constexpr std::chrono::seconds kGrace{1};

using Clock = std::chrono::steady_clock;

// Several agents may share a folder, but no port.
std::string Prefix(const Options& options) {
  return "session-" + std::to_string(options.port) + "-";
}

// Serve from one place within a page of the stack, however long the environment and the arguments
// are that lie above it: where a tile on the stack begins decides how many steps the C library takes
// to fill it.
void ServeFromFixedPlace(int connection) {
  const auto frame = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  volatile char* gap = static_cast<char*>(alloca(frame % kPageBytes + 1));
  *gap = 0;
  tvm::ffi::Function::GetGlobalRequired("rpc.ServerLoop")(connection);
}

[[noreturn]] void RunSession(const Descriptor& connection, const Options& options,
                             const std::string& folder, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  for (const int number : {SIGTERM, SIGINT}) signal(number, SIG_DFL);
  try {
    if (chdir(folder.c_str()) != 0) _exit(1);
    RegisterFunctions(options, folder);
    ServeFromFixedPlace(connection.number());
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    _exit(1);
  }
  // Libraries of the client run no destructors: they might not end.
  _exit(0);
}

// Wait until the process ends, or it has to be ended; returns why it has to, or "".
std::string Watch(int connection, int process_end, double seconds) {
  const auto limit = std::chrono::duration<double>(seconds > 0 ? seconds : 1e9);
  auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(limit);
  bool client_is_there = true;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return client_is_there ? "it took longer than the client allowed" : "client gone";
    pollfd events[] = {{process_end, POLLIN, 0},
                       {client_is_there ? connection : -1, POLLRDHUP, 0}};
    const int happened = poll(events, 2, static_cast<int>(std::min<long long>(left, 1 << 30)));
    if (happened < 0) return "the agent is told to end";
    if (events[0].revents != 0) return "";
    if (events[1].revents != 0) {
      client_is_there = false;
      deadline = std::min(deadline, Clock::now() + kGrace);
    }
  }
}

std::string HowItEnded(int status) {
  if (!WIFSIGNALED(status)) return WEXITSTATUS(status) == 0 ? "" : "it failed";
  const int number = WTERMSIG(status);
  const std::string name = std::string("SIG") + sigabbrev_np(number);
  if (number != SIGILL) return std::string(strsignal(number)) + " (" + name + ")";
  return "illegal instruction (SIGILL): the code needs instructions that this " + Machine() +
         " processor lacks; it has " + Features();
}

void TellClient(int connection, const std::string& reason) {
  LimitWaits(connection, kGreetingSeconds);
  try {
    tvm::ffi::Function::GetGlobalRequired("rpc.ReturnException")(
        connection, "RPCError: the session on the board ended: " + reason);
  } catch (const std::exception&) {
    // It does not listen any more.
  }
}

}  // namespace

bool Greet(Descriptor connection, const Options& options, const std::string& matchkey,
           Client* client) {
  const int socket = connection.number();
  LimitWaits(socket, kGreetingSeconds);
  AnswerAtOnce(socket);
  int32_t magic = 0;
  std::string greeting;
  if (!ReceiveInt(socket, &magic) || magic != kMagic ||
      !ReceiveText(socket, &greeting, kLongestGreeting)) {
    return false;
  }
  std::istringstream words(greeting);
  std::string word;
  words >> word;
  const std::string key = word.compare(0, 7, "client:") == 0 ? word.substr(7) : "";
  const auto& allowed = options.allowed_keys;
  const bool known = std::find(allowed.begin(), allowed.end(), key) != allowed.end();
  if (key.empty() || (key != matchkey && !known)) {
    SendInt(socket, kMismatch);
    std::cerr << "refused a client with a wrong key" << std::endl;
    return false;
  }
  client->seconds = 0;
  while (words >> word) {
    if (word.compare(0, 9, "-timeout=") == 0) client->seconds = std::atof(word.c_str() + 9);
  }
  if (!SendInt(socket, kMagic) || !SendText(socket, "server:" + options.key)) return false;
  LimitWaits(socket, 0);
  client->key = key;
  client->connection = std::move(connection);
  return true;
}

void Serve(Client client, const Options& options) {
  std::string folder = options.work + "/" + Prefix(options) + "XXXXXX";
  int ends[2];
  if (mkdtemp(folder.data()) == nullptr || pipe(ends) != 0) {
    TellClient(client.connection.number(), "cannot make " + folder + ": " + std::strerror(errno));
    return;
  }
  Descriptor process_end(ends[0]), held_by_process(ends[1]);
  std::cout << "session begins in " << folder << std::endl;
  const pid_t parent = getpid(), process = fork();
  if (process == 0) {
    process_end.Close();
    RunSession(client.connection, options, folder, parent);
  }
  held_by_process.Close();
  std::string reason = process < 0
                           ? "there is no process for it"
                           : Watch(client.connection.number(), process_end.number(), client.seconds);
  if (process > 0) {
    if (!reason.empty()) kill(process, SIGKILL);
    int status = 0;
    while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    kill(-process, SIGKILL);
    if (reason.empty()) reason = HowItEnded(status);
  }
  if (!reason.empty()) TellClient(client.connection.number(), reason);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  std::cout << "session ended" << (reason.empty() ? "" : ": " + reason) << std::endl;
}

void DeleteOldSessions(const Options& options) {
  std::error_code ignored;
  const std::string prefix = Prefix(options);
  for (const auto& entry : std::filesystem::directory_iterator(options.work, ignored)) {
    if (entry.path().filename().string().compare(0, prefix.size(), prefix) == 0) {
      std::filesystem::remove_all(entry.path(), ignored);
    }
  }
}

}  // namespace agent
