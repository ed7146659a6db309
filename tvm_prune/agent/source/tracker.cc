#include "tracker.h"

#include <sys/random.h>

#include <cinttypes>
#include <cstdio>
#include <iostream>

namespace agent {
namespace {

// The protocol of tvm.rpc.base.
constexpr int32_t kTrackerMagic = 0x2F271;
constexpr int kPut = 3;
constexpr int kUpdateInfo = 5;
constexpr int kGetPendingMatchkeys = 7;

constexpr std::chrono::seconds kPeriod{1};
// Periods after which an offer that was taken, but led to no connection, is made again.
constexpr int kMostAbsences = 6;
constexpr int32_t kLongestAnswer = 1 << 24;

std::string RandomMatchkey(const std::string& key) {
  uint64_t number = 0;
  while (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
  }
  char text[32];
  std::snprintf(text, sizeof(text), "%016" PRIx64, number);
  return key + ":" + text;
}

}  // namespace

TrackerClient::TrackerClient(const Options& options) : options_(options) {}

void TrackerClient::Offer() {
  wanted_ = true;
  next_ = {};
  Tick();
}

void TrackerClient::Tick() {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kPeriod;
  if (!connection_.open() && !ConnectAndRegister()) return;
  if (wanted_) {
    Put();
    return;
  }
  std::string pending;
  if (!Ask("[" + std::to_string(kGetPendingMatchkeys) + "]", &pending)) return;
  absences_ = pending.find('"' + matchkey_ + '"') == std::string::npos ? absences_ + 1 : 0;
  if (absences_ >= kMostAbsences) Put();
}

bool TrackerClient::ConnectAndRegister() {
  connection_ = Connect(*options_.tracker);
  int32_t magic = 0;
  if (!connection_.open() || !SendInt(connection_.number(), kTrackerMagic) ||
      !ReceiveInt(connection_.number(), &magic) || magic != kTrackerMagic) {
    Drop("does not answer");
    return false;
  }
  const std::string host = options_.advertised.empty() ? "null" : '"' + options_.advertised + '"';
  std::string answer;
  const bool registered = Ask("[" + std::to_string(kUpdateInfo) + ", {\"key\": \"server:" +
                                  options_.key + "\", \"addr\": [" + host + ", " +
                                  std::to_string(options_.port) + "]}]",
                              &answer);
  if (registered) {
    std::cout << "registered with the tracker as " << options_.key << std::endl;
    told_ = false;
    wanted_ = true;
  }
  return registered;
}

bool TrackerClient::Put() {
  const std::string matchkey = RandomMatchkey(options_.key);
  const std::string host = options_.advertised.empty() ? "null" : '"' + options_.advertised + '"';
  std::string answer;
  if (!Ask("[" + std::to_string(kPut) + ", \"" + options_.key + "\", [" + std::to_string(options_.port) +
               ", \"" + matchkey + "\"], " + host + "]",
           &answer)) {
    return false;
  }
  matchkey_ = matchkey;
  wanted_ = false;
  absences_ = 0;
  return true;
}

bool TrackerClient::Ask(const std::string& question, std::string* answer) {
  if (SendText(connection_.number(), question) &&
      ReceiveText(connection_.number(), answer, kLongestAnswer)) {
    return true;
  }
  Drop("is gone");
  return false;
}

void TrackerClient::Drop(const std::string& reason) {
  connection_.Close();
  matchkey_.clear();
  if (!told_) {
    std::cerr << "the tracker " << options_.tracker->host << ":" << options_.tracker->port << " "
              << reason << "; trying again until it is back" << std::endl;
  }
  told_ = true;
}

}  // namespace agent
