// The tracker's client: offers this board, and comes back when the tracker does.
#pragma once

#include <chrono>
#include <string>

#include "options.h"

namespace agent {

class TrackerClient {
 public:
  explicit TrackerClient(const Options& options);

  // Offer the board for one session; to be called when the board is free.
  void Offer();

  // What is due now: connect again, see whether our offer was taken and never used.
  void Tick();

  // What a client has to say to be served; empty while the tracker knows nothing of us.
  const std::string& matchkey() const { return matchkey_; }

 private:
  bool ConnectAndRegister();
  bool Put();
  bool Ask(const std::string& question, std::string* answer);
  void Drop(const std::string& reason);

  const Options& options_;
  Descriptor connection_;
  std::string matchkey_;
  bool wanted_ = false;
  bool told_ = false;
  std::chrono::steady_clock::time_point next_{};
  int absences_ = 0;
};

}  // namespace agent
