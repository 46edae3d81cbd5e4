#include "etcd/snapshot_source.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "base/deadline.h"
#include "base/secret_bytes.h"
#include "base/sha256.h"
#include "base/status.h"
#include "etcd/foreign.h"
#include "etcd/snapshot_file.h"
#include "proto/etcd.grpc.pb.h"

namespace cryptvol::etcd {
namespace {

using etcdserverpb::SnapshotResponse;

constexpr std::string_view kAttempt = "take a snapshot";
// A hundred times what etcd is fit for. Whoever stores the snapshot chooses the sizes of what it has
// in memory by what is announced (of an upload to S3 two parts at least, here of 116 MiB).
constexpr uint64_t kMaxDatabaseBytes = uint64_t{1} << 40;

// The call alone: messages, one after the other, each by a deadline. With a completion queue of its
// own, since gRPC's blocking reads know no deadline but that of the whole call.
class SnapshotStream {
 public:
  explicit SnapshotStream(const SnapshotCall& call)
      : stub_(etcdserverpb::Maintenance::NewStub(call.channel)) {
    if (!call.token.empty()) context_.AddMetadata("token", call.token);
    reader_ = stub_->AsyncSnapshot(&context_, etcdserverpb::SnapshotRequest(), &queue_, nullptr);
    ++pending_;
  }
  ~SnapshotStream() {
    context_.TryCancel();
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  SnapshotStream(const SnapshotStream&) = delete;
  SnapshotStream& operator=(const SnapshotStream&) = delete;

  enum class Event { kMessage, kEnd, kTimeout };

  // After kEnd, status() is the call's; after kTimeout only destruction is left.
  Event Next(Deadline deadline) {
    if (pending_ > 0 && !Wait(deadline).has_value()) return Event::kTimeout;
    reader_->Read(&message_, nullptr);
    ++pending_;
    const std::optional<bool> got = Wait(deadline);
    if (!got.has_value()) return Event::kTimeout;
    if (*got) return Event::kMessage;
    reader_->Finish(&status_, nullptr);
    ++pending_;
    return Wait(deadline).has_value() ? Event::kEnd : Event::kTimeout;
  }

  SnapshotResponse& message() { return message_; }
  const grpc::Status& status() const { return status_; }

 private:
  // Of the operation that was begun last. nullopt: it goes on.
  std::optional<bool> Wait(Deadline deadline) {
    void* tag = nullptr;
    bool ok = false;
    const auto until = std::chrono::system_clock::now() + deadline.remaining();
    if (queue_.AsyncNext(&tag, &ok, until) != grpc::CompletionQueue::GOT_EVENT) return std::nullopt;
    --pending_;
    return ok;
  }

  std::unique_ptr<etcdserverpb::Maintenance::Stub> stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  SnapshotResponse message_;
  grpc::Status status_;
  std::unique_ptr<grpc::ClientAsyncReader<SnapshotResponse>> reader_;
  int pending_ = 0;
};

class Source : public SnapshotSource {
 public:
  explicit Source(SnapshotCall call)
      : peer_(std::move(call.peer)), idle_timeout_(call.idle_timeout), stream_(call) {}

  // Waits for the first bytes.
  absl::Status Start() { return Await(); }

  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override {
    CV_RETURN_IF_ERROR(failed_);
    if (ready() == 0 && !ended_) failed_ = Await();
    CV_RETURN_IF_ERROR(failed_);
    const size_t count = std::min(buffer.size(), ready());
    if (count > 0) std::memcpy(buffer.data(), held_.data() + given_, count);
    given_ += count;
    return count;
  }

  uint64_t expected_bytes() const override { return database_bytes_ + kDigestBytes; }
  const std::string& storage_version() const override { return version_; }
  bool stale_token() const { return received_ == 0 && IsStaleToken(stream_.status()); }

 private:
  size_t ready() const {
    const size_t unread = held_.size() - given_;
    return ended_ ? unread : unread - std::min<size_t>(unread, kDigestBytes);
  }

  // Until there is something to read, or the end. Messages without bytes are no progress: a server
  // that cannot read its own database sends them for ever.
  absl::Status Await() {
    const Deadline deadline = Deadline::After(idle_timeout_);
    while (ready() == 0 && !ended_) {
      switch (stream_.Next(deadline)) {
        case SnapshotStream::Event::kMessage:
          CV_RETURN_IF_ERROR(Accept());
          break;
        case SnapshotStream::Event::kEnd:
          CV_RETURN_IF_ERROR(stream_.status().ok() ? CheckEnd() : ExplainCut());
          ended_ = true;
          break;
        case SnapshotStream::Event::kTimeout:
          return ExplainTimeout();
      }
    }
    return absl::OkStatus();
  }

  absl::Status Accept() {
    SnapshotResponse& message = stream_.message();
    if (!started_) {
      started_ = true;
      version_ = ForeignText(message.version());
      if (message.remaining_bytes() > kMaxDatabaseBytes) {
        return Failed(absl::StatusCode::kDataLoss,
                      "the server announces a database of {} bytes; none has more than {}: try "
                      "another endpoint",
                      message.remaining_bytes(), kMaxDatabaseBytes);
      }
      database_bytes_ = message.remaining_bytes() + message.blob().size();
    }
    held_.erase(0, given_);
    given_ = 0;
    held_ += message.blob();
    received_ += message.blob().size();
    if (received_ > expected_bytes()) return SizesDoNotFit();
    HashAllButTheLast();
    return absl::OkStatus();
  }

  // The last 32 bytes that are held have not been hashed: they may be the digest.
  void HashAllButTheLast() {
    if (received_ < kDigestBytes) return;
    const uint64_t count = received_ - kDigestBytes - hashed_;
    const auto* end = reinterpret_cast<const uint8_t*>(held_.data()) + held_.size() - kDigestBytes;
    hash_.Update({end - count, count});
    hashed_ += count;
  }

  absl::Status CheckEnd() {
    if (received_ < database_bytes_ || !started_) return SizesDoNotFit();
    if (received_ % kSectorBytes != kDigestBytes) {
      return Failed(absl::StatusCode::kFailedPrecondition,
                    "the server sent no SHA-256 after the database, so nobody can tell whether it "
                    "is whole; upgrade etcd");
    }
    const Sha256Digest digest = hash_.Finish();
    const std::string_view sent = std::string_view(held_).substr(held_.size() - kDigestBytes);
    if (std::memcmp(sent.data(), digest.data(), digest.size()) == 0) return absl::OkStatus();
    return Failed(absl::StatusCode::kDataLoss,
                  "the database does not match the SHA-256 that the server sent with it; try "
                  "another endpoint, and check the memory and the disk of this one");
  }

  absl::Status ExplainCut() {
    if (received_ == 0) return ExplainRpcError(stream_.status(), peer_, kAttempt);
    return Failed(absl::StatusCode::kUnavailable,
                  "the stream was cut after {} of {} bytes ({}); try again", received_,
                  expected_bytes(), ForeignText(stream_.status().error_message()));
  }

  absl::Status ExplainTimeout() {
    const std::string so_far =
        started_ ? fmt::format(" after {} of {}", received_, expected_bytes()) : "";
    return Failed(absl::StatusCode::kDeadlineExceeded,
                  "no bytes came for {} s{}; the member, or the way to it, hangs: try another "
                  "endpoint",
                  std::chrono::duration<double>(idle_timeout_).count(), so_far);
  }

  absl::Status SizesDoNotFit() {
    return Failed(absl::StatusCode::kDataLoss,
                  "the server sent {} bytes, of a database of {} by its own word; try another "
                  "endpoint",
                  received_, database_bytes_);
  }

  template <typename... Args>
  absl::Status Failed(absl::StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
    return MakeStatus(code, "{}: {}: {}", peer_.endpoint, kAttempt,
                      fmt::format(format, std::forward<Args>(args)...));
  }

  const Peer peer_;
  const std::chrono::milliseconds idle_timeout_;
  SnapshotStream stream_;
  absl::Status failed_;
  bool started_ = false;
  bool ended_ = false;
  uint64_t database_bytes_ = 0;
  std::string version_;
  Sha256Stream hash_;
  uint64_t hashed_ = 0;
  uint64_t received_ = 0;
  std::string held_;  // the last message, and of those before what may be the digest
  size_t given_ = 0;  // how much of it was read
};

}  // namespace

absl::StatusOr<std::unique_ptr<SnapshotSource>> OpenSnapshot(SnapshotCall call, bool& stale_token) {
  auto source = std::make_unique<Source>(std::move(call));
  const absl::Status started = source->Start();
  stale_token = source->stale_token();
  CV_RETURN_IF_ERROR(started);
  return source;
}

}  // namespace cryptvol::etcd
