// A TVM RPC server for boards without Python: one session at a time, each in its own process.

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>
#include <memory>

#include "options.h"
#include "session.h"
#include "tracker.h"
#include "wire.h"

namespace {

constexpr int kTickMilliseconds = 500;

volatile sig_atomic_t g_told_to_end = 0;

void TellToEnd(int) { g_told_to_end = 1; }

// A folder of our own that nobody else can write to.
bool OwnFolder(const std::string& path) {
  struct stat facts{};
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return false;
  return lstat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode) &&
         facts.st_uid == getuid() && (facts.st_mode & 022) == 0;
}

void HandleSignals() {
  struct sigaction ending{};
  ending.sa_handler = TellToEnd;  // without SA_RESTART: waits end
  sigaction(SIGTERM, &ending, nullptr);
  sigaction(SIGINT, &ending, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int ServeUntilTold(const agent::Options& options, const agent::Descriptor& listener) {
  std::unique_ptr<agent::TrackerClient> tracker;
  if (options.tracker) tracker = std::make_unique<agent::TrackerClient>(options);
  if (tracker) tracker->Offer();
  while (!g_told_to_end) {
    pollfd event{listener.number(), POLLIN, 0};
    if (poll(&event, 1, kTickMilliseconds) > 0) {
      agent::Descriptor connection(accept4(listener.number(), nullptr, nullptr, SOCK_CLOEXEC));
      const std::string matchkey = tracker ? tracker->matchkey() : "";
      agent::Client client;
      if (connection.open() &&
          agent::Greet(std::move(connection), options, matchkey, &client)) {
        const bool taken = tracker && client.key == matchkey;
        agent::Serve(std::move(client), options);
        if (taken && !g_told_to_end) tracker->Offer();
      }
    }
    if (tracker && !g_told_to_end) tracker->Tick();
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  agent::Options options = agent::ParseOptions(count, arguments);
  int port = options.port;
  const agent::Descriptor listener = agent::Listen(options.host, &port, options.last_port);
  if (!listener.open()) {
    std::cerr << "tvm-prune-agent: cannot listen at " << options.host << ", ports "
              << options.port << " to " << options.last_port << ": " << std::strerror(errno)
              << std::endl;
    return 1;
  }
  if (options.work.empty()) options.work = agent::DefaultWork(port);
  if (!OwnFolder(options.work)) {
    std::cerr << "tvm-prune-agent: " << options.work
              << " must be a folder that only this user can write to; name one with --work."
              << std::endl;
    return 1;
  }
  options.port = port;
  agent::DeleteOldSessions(options);
  HandleSignals();
  std::cout << "listening at " << options.host << ":" << port << std::endl;
  return ServeUntilTold(options, listener);
}
