#include "tests/s3/loopback_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "fmt/format.h"
#include "s3/text.h"

namespace cryptvol::s3::testing {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

// False at the end of the connection.
bool ReadMore(int fd, std::string& buffer) {
  char bytes[65536];
  const ssize_t got = ::read(fd, bytes, sizeof bytes);
  if (got <= 0) return false;
  buffer.append(bytes, static_cast<size_t>(got));
  return true;
}

void WriteAll(int fd, const std::string& bytes) {
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t sent = ::send(fd, bytes.data() + written, bytes.size() - written, MSG_NOSIGNAL);
    if (sent <= 0) return;
    written += static_cast<size_t>(sent);
  }
}

void ParseHead(const std::string& head, Received& request) {
  const size_t line_end = head.find("\r\n");
  const std::string line = head.substr(0, line_end);
  request.method = line.substr(0, line.find(' '));
  request.target = line.substr(line.find(' ') + 1, line.rfind(' ') - line.find(' ') - 1);
  for (size_t at = line_end + 2; at < head.size();) {
    const size_t end = std::min(head.find("\r\n", at), head.size());
    const std::string header = head.substr(at, end - at);
    const size_t colon = header.find(':');
    request.headers[Lowercase(header.substr(0, colon))] =
        std::string(Trim(header.substr(colon + 1)));
    at = end + 2;
  }
}

}  // namespace

Reply Answer(int status, const std::string& body, const std::string& headers) {
  return {.bytes = fmt::format("HTTP/1.1 {} Text\r\nContent-Length: {}\r\n{}\r\n{}", status,
                               body.size(), headers, body)};
}

Reply ErrorAnswer(int status, const std::string& code) {
  return Answer(status,
                fmt::format("<?xml version=\"1.0\"?>\n<Error><Code>{}</Code><Message>in the "
                            "server's words</Message><RequestId>REQ7</RequestId></Error>",
                            code));
}

Reply Hangup() { return {.bytes = "", .close = true}; }

Reply CutShort(Reply reply, size_t missing_bytes) {
  reply.bytes.resize(reply.bytes.size() - missing_bytes);
  reply.close = true;
  return reply;
}

LoopbackServer::Handler InTurn(std::vector<Reply> replies) {
  auto left = std::make_shared<std::vector<Reply>>(std::move(replies));
  return [left](const Received&) {
    Reply reply = left->front();
    if (left->size() > 1) left->erase(left->begin());
    return reply;
  };
}

LoopbackServer::LoopbackServer(Handler handler)
    : handler_(std::move(handler)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  Require(::bind(listener_.get(), generic, size) == 0);
  Require(::listen(listener_.get(), 64) == 0);
  Require(::getsockname(listener_.get(), generic, &size) == 0);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

LoopbackServer::~LoopbackServer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const UniqueFd& fd : connections_) ::shutdown(fd.get(), SHUT_RDWR);
  }
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
}

std::string LoopbackServer::authority() const { return fmt::format("127.0.0.1:{}", port_); }
std::string LoopbackServer::url() const { return "http://" + authority(); }

std::vector<Received> LoopbackServer::received() const {
  const std::lock_guard lock(mutex_);
  return received_;
}

void LoopbackServer::Accept() {
  while (true) {
    const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const std::lock_guard lock(mutex_);
    connections_.emplace_back(fd);
    if (stopping_) return;
    const int number = static_cast<int>(connections_.size()) - 1;
    threads_.emplace_back([this, fd, number] { Serve(fd, number); });
  }
}

bool LoopbackServer::ReadRequest(int fd, std::string& buffer, Received& request) {
  while (buffer.find("\r\n\r\n") == std::string::npos) {
    if (!ReadMore(fd, buffer)) return false;
  }
  const size_t head = buffer.find("\r\n\r\n");
  ParseHead(buffer.substr(0, head), request);
  const std::string length = request.Header("content-length");
  const size_t body = length.empty() ? 0 : std::stoul(length);
  while (buffer.size() < head + 4 + body) {
    if (!ReadMore(fd, buffer)) return false;
  }
  request.body = buffer.substr(head + 4, body);
  buffer.erase(0, head + 4 + body);
  return true;
}

void LoopbackServer::Serve(int fd, int connection) {
  std::string buffer;
  while (true) {
    Received request;
    request.connection = connection;
    if (!ReadRequest(fd, buffer, request)) break;
    Reply reply;
    {
      const std::lock_guard lock(mutex_);
      received_.push_back(request);
      reply = handler_(request);
    }
    WriteAll(fd, reply.bytes);
    if (reply.close) break;
  }
  ::shutdown(fd, SHUT_RDWR);
}

}  // namespace cryptvol::s3::testing
