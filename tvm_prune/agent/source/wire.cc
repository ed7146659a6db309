#include "wire.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace agent {
namespace {

constexpr int kConnectSeconds = 5;
constexpr int kBacklog = 16;

addrinfo* Resolve(const std::string& host, int port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  return failed ? nullptr : found;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    Close();
    number_ = other.Release();
  }
  return *this;
}

int Descriptor::Release() {
  const int number = number_;
  number_ = -1;
  return number;
}

void Descriptor::Close() {
  if (number_ >= 0) close(number_);
  number_ = -1;
}

std::optional<Address> ParseAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  const std::string digits = text.substr(colon + 1);
  if (digits.empty() || digits.size() > 5) return std::nullopt;
  if (digits.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  Address address{text.substr(0, colon), std::stoi(digits)};
  if (address.host.front() == '[' && address.host.back() == ']') {
    address.host = address.host.substr(1, address.host.size() - 2);
  }
  if (address.port < 1 || address.port > 65535) return std::nullopt;
  return address;
}

Descriptor Listen(const std::string& host, int* port, int last_port) {
  for (int candidate = *port; candidate <= last_port; ++candidate) {
    addrinfo* found = Resolve(host, candidate, AI_PASSIVE);
    if (found == nullptr) return Descriptor();
    Descriptor listener(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int yes = 1;
    setsockopt(listener.number(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    const bool bound = bind(listener.number(), found->ai_addr, found->ai_addrlen) == 0 &&
                       listen(listener.number(), kBacklog) == 0;
    freeaddrinfo(found);
    if (bound) {
      *port = candidate;
      return listener;
    }
  }
  return Descriptor();
}

Descriptor Connect(const Address& address) {
  addrinfo* found = Resolve(address.host, address.port, 0);
  for (addrinfo* each = found; each != nullptr; each = each->ai_next) {
    Descriptor connection(socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    LimitWaits(connection.number(), kConnectSeconds);
    AnswerAtOnce(connection.number());
    if (connect(connection.number(), each->ai_addr, each->ai_addrlen) == 0) {
      freeaddrinfo(found);
      return connection;
    }
  }
  if (found != nullptr) freeaddrinfo(found);
  return Descriptor();
}

void LimitWaits(int socket, int seconds) {
  const timeval limit{seconds, 0};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

void AnswerAtOnce(int socket) {
  const int yes = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
  setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &yes, sizeof(yes));
}

bool SendAll(int socket, const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t sent = send(socket, next, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    next += sent;
    size -= static_cast<size_t>(sent);
  }
  return true;
}

bool ReceiveAll(int socket, void* data, size_t size) {
  char* next = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t received = recv(socket, next, size, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    next += received;
    size -= static_cast<size_t>(received);
  }
  return true;
}

bool SendInt(int socket, int32_t value) { return SendAll(socket, &value, sizeof(value)); }

bool ReceiveInt(int socket, int32_t* value) { return ReceiveAll(socket, value, sizeof(*value)); }

bool SendText(int socket, const std::string& text) {
  return SendInt(socket, static_cast<int32_t>(text.size())) &&
         SendAll(socket, text.data(), text.size());
}

bool ReceiveText(int socket, std::string* text, int32_t limit) {
  int32_t size = 0;
  if (!ReceiveInt(socket, &size) || size < 0 || size > limit) return false;
  text->resize(static_cast<size_t>(size));
  return ReceiveAll(socket, text->data(), text->size());
}

}  // namespace agent
