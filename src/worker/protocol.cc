#include "worker/protocol.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/poll_timeout.h"
#include "base/status.h"

namespace cryptvol::worker {
namespace {

using nlohmann::json;

constexpr uint32_t kMaxBody = 64 << 20;  // a list of a hundred thousand volumes
constexpr uint32_t kMaxSecret = 16 << 20;

absl::Status WaitFor(int fd, short events, Deadline deadline) {
  pollfd wait = {fd, events, 0};
  int ready = 0;
  do {
    ready = TEMP_FAILURE_RETRY(::poll(&wait, 1, PollTimeout(deadline)));
  } while (ready == 0 && !deadline.expired());
  if (ready < 0) return ErrnoStatus(errno, "wait for the worker");
  if (ready == 0) return MakeStatus(absl::StatusCode::kDeadlineExceeded, "no answer in time");
  return absl::OkStatus();
}

absl::Status Gone(const char* what) {
  return MakeStatus(absl::StatusCode::kUnavailable, "{}: the other end is gone", what);
}

absl::Status SendAll(int fd, std::span<const uint8_t> data, Deadline deadline) {
  while (!data.empty()) {
    CV_RETURN_IF_ERROR(WaitFor(fd, POLLOUT, deadline));
    const ssize_t n = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n < 0) return Gone("send");
    data = data.subspan(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status ReceiveAll(int fd, std::span<uint8_t> data, Deadline deadline) {
  while (!data.empty()) {
    CV_RETURN_IF_ERROR(WaitFor(fd, POLLIN, deadline));
    const ssize_t n = ::recv(fd, data.data(), data.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) return Gone("receive");
    data = data.subspan(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

std::span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

absl::Status SendMessage(int fd, const json& body, const SecretBytes* secret, Deadline deadline) {
  const std::string text = body.dump(-1, ' ', false, json::error_handler_t::replace);
  const std::array<uint32_t, 2> sizes = {
      static_cast<uint32_t>(text.size()),
      secret != nullptr ? static_cast<uint32_t>(secret->size()) : 0};
  std::string message(sizeof(sizes), '\0');
  std::memcpy(message.data(), sizes.data(), sizeof(sizes));
  CV_RETURN_IF_ERROR(SendAll(fd, BytesOf(message + text), deadline));
  return secret != nullptr ? SendAll(fd, secret->span(), deadline) : absl::OkStatus();
}

absl::StatusOr<Message> ReceiveMessage(int fd, Deadline deadline) {
  std::array<uint8_t, 8> prefix;
  CV_RETURN_IF_ERROR(ReceiveAll(fd, prefix, deadline));
  std::array<uint32_t, 2> sizes;
  std::memcpy(sizes.data(), prefix.data(), sizeof(sizes));
  if (sizes[0] > kMaxBody || sizes[1] > kMaxSecret) return Internal("receive: a message too large");
  std::string text(sizes[0], '\0');
  CV_RETURN_IF_ERROR(
      ReceiveAll(fd, {reinterpret_cast<uint8_t*>(text.data()), text.size()}, deadline));
  Message message;
  CV_ASSIGN_OR_RETURN(message.secret, SecretBytes::Allocate(sizes[1]));
  CV_RETURN_IF_ERROR(ReceiveAll(fd, message.secret.span(), deadline));
  message.body = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!message.body.is_object()) return Internal("receive: not a message");
  return message;
}

absl::Status SendLock(int fd, int lock, Deadline deadline) {
  CV_RETURN_IF_ERROR(WaitFor(fd, POLLOUT, deadline));
  char byte = 0;
  iovec data = {&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (lock >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &lock, sizeof(int));
  }
  if (TEMP_FAILURE_RETRY(::sendmsg(fd, &message, MSG_NOSIGNAL)) != 1) return Gone("send the lock");
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> ReceiveLock(int fd) {
  char byte = 0;
  iovec data = {&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (TEMP_FAILURE_RETRY(::recvmsg(fd, &message, MSG_CMSG_CLOEXEC)) != 1) {
    return Gone("receive the lock");
  }
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return UniqueFd();
  int lock = -1;
  std::memcpy(&lock, CMSG_DATA(header), sizeof(int));
  return UniqueFd(lock);
}

json StatusToJson(const absl::Status& status) {
  return {{"code", static_cast<int>(status.code())}, {"message", ::cryptvol::Message(status)}};
}

absl::Status StatusFromJson(const json& value) {
  return absl::Status(static_cast<absl::StatusCode>(value.at("code").get<int>()),
                      value.at("message").get<std::string>());
}

json ErrorReply(const absl::Status& status) { return {{"error", StatusToJson(status)}}; }

absl::StatusOr<json> ParseReply(const json& reply) {
  if (auto error = reply.find("error"); error != reply.end()) return StatusFromJson(*error);
  return reply.value("result", json());
}

}  // namespace cryptvol::worker

namespace cryptvol::volume {
namespace {

using nlohmann::json;

template <typename T>
json ToJson(const std::optional<T>& value) {
  return value.has_value() ? json(*value) : json();
}

template <typename T>
std::optional<T> FromJson(const json& value) {
  return value.is_null() ? std::nullopt : std::optional<T>(value.get<T>());
}

}  // namespace

void to_json(json& out, const HeaderSummary& header) {
  out = {{"version", header.version},
         {"uuid", header.uuid},
         {"keyslots", header.keyslots},
         {"ignored", header.ignored},
         {"kdf_memory_bytes", header.kdf_memory_bytes},
         {"data_offset", header.data_offset},
         {"damaged_copy", header.damaged_copy},
         {"token", ToJson(header.token)},
         {"recovery", header.recovery}};
}

void from_json(const json& in, HeaderSummary& header) {
  in.at("version").get_to(header.version);
  in.at("uuid").get_to(header.uuid);
  in.at("keyslots").get_to(header.keyslots);
  in.at("ignored").get_to(header.ignored);
  in.at("kdf_memory_bytes").get_to(header.kdf_memory_bytes);
  in.at("data_offset").get_to(header.data_offset);
  in.at("damaged_copy").get_to(header.damaged_copy);
  header.token = FromJson<luks::FoundToken>(in.at("token"));
  in.at("recovery").get_to(header.recovery);
}

void to_json(json& out, const Inspection& inspection) {
  out = {{"device", inspection.device},
         {"header", ToJson(inspection.header)},
         {"header_error", worker::StatusToJson(inspection.header_error)},
         {"intent", ToJson(inspection.intent)}};
}

void from_json(const json& in, Inspection& inspection) {
  in.at("device").get_to(inspection.device);
  inspection.header = FromJson<HeaderSummary>(in.at("header"));
  inspection.header_error = worker::StatusFromJson(in.at("header_error"));
  inspection.intent = FromJson<luks::Intent>(in.at("intent"));
}

}  // namespace cryptvol::volume
