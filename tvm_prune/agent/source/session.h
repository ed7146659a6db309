// One session: a client, and a process of its own that serves it.
#pragma once

#include <string>

#include "options.h"

namespace agent {

struct Client {
  Descriptor connection;
  std::string key;      // what it said to be served
  double seconds = 0;   // what the session may take; 0 where the client sets no limit
};

// Hear what a client wants; false where it is not to be served.
bool Greet(Descriptor connection, const Options& options, const std::string& matchkey,
           Client* client);

// Serve a client until it is done, gone or late. Nothing of the session is left after that.
void Serve(Client client, const Options& options);

// Delete what the sessions of an agent with our port left behind when it was killed.
void DeleteOldSessions(const Options& options);

}  // namespace agent
