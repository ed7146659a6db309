// Sockets on which nothing waits for ever.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace agent {

// A file descriptor that is closed with its owner.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(other.Release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { Close(); }

  int number() const { return number_; }
  bool open() const { return number_ >= 0; }
  int Release();
  void Close();

 private:
  int number_ = -1;
};

struct Address {
  std::string host;
  int port = 0;
};

// "HOST:PORT" or "[HOST]:PORT"; nothing where the text is neither.
std::optional<Address> ParseAddress(const std::string& text);

// A socket that listens at the first free port of [port, last_port]; `port` becomes that port.
Descriptor Listen(const std::string& host, int* port, int last_port);

// A connection; not open where nobody answers.
Descriptor Connect(const Address& address);

// Bound every wait on a socket.
void LimitWaits(int socket, int seconds);

// Send and acknowledge small messages without waiting for more to go with them: whoever asks here
// waits for the answer before asking again.
void AnswerAtOnce(int socket);

// All or nothing; false where the other side is gone or too slow.
bool SendAll(int socket, const void* data, size_t size);
bool ReceiveAll(int socket, void* data, size_t size);
bool SendInt(int socket, int32_t value);
bool ReceiveInt(int socket, int32_t* value);

// A 32-bit length, and as many bytes; longer than `limit` is refused.
bool SendText(int socket, const std::string& text);
bool ReceiveText(int socket, std::string* text, int32_t limit);

}  // namespace agent
