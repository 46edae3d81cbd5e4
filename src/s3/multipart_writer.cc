#include "s3/multipart_writer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "s3/part_sizes.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

constexpr std::chrono::seconds kAbortTime(30);

PutOptions DescriptionOf(const MultipartWriter::Options& options) {
  PutOptions put;
  put.content_type = options.content_type;
  put.metadata = options.metadata;
  return put;
}

}  // namespace

MultipartWriter::MultipartWriter(Client& client, std::string key, Options options,
                                 Deadline deadline)
    : client_(client), key_(std::move(key)), options_(std::move(options)), deadline_(deadline) {}

MultipartWriter::~MultipartWriter() {
  if (ended_) return;
  const absl::Status status = Abort();
  if (status.ok()) return;
  Log(LogLevel::kWarning, "an upload that was begun may have stayed in the bucket, and costs money",
      {{"key", Escaped(key_)}, {"error", Message(status)}});
}

uint64_t MultipartWriter::PartBytes(int number) const {
  if (options_.part_bytes > 0) return options_.part_bytes;
  if (!options_.expected_bytes.has_value()) return GrowingPartBytes(number);
  // More may come than was expected.
  const uint64_t equal = EqualPartBytes(*options_.expected_bytes);
  const bool expected = static_cast<uint64_t>(number) * equal <= *options_.expected_bytes + equal;
  return expected ? equal : std::max(equal, GrowingPartBytes(number));
}

absl::Status MultipartWriter::Write(std::span<const uint8_t> bytes) {
  if (ended_) return FailedPrecondition("write to {}: the upload has ended", Escaped(key_));
  if (broken_.ok()) broken_ = Append(bytes);
  return broken_;
}

absl::Status MultipartWriter::Append(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const uint64_t whole = PartBytes(next_number_);
    // A full part is sent only when more follows, so that the last one is never empty.
    if (buffer_.size() == whole) {
      CV_RETURN_IF_ERROR(Dispatch());
      continue;
    }
    if (buffer_.capacity() < whole) TakeBuffer(whole);
    const size_t taken = std::min<uint64_t>(bytes.size(), whole - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(taken));
    bytes = bytes.subspan(taken);
    bytes_written_ += taken;
  }
  return absl::OkStatus();
}

// Before its first byte.
void MultipartWriter::TakeBuffer(uint64_t size) {
  {
    const std::lock_guard lock(mutex_);
    // Parts only grow: what is too small now will not be large enough again.
    std::erase_if(spare_, [&](const auto& spare) { return spare.capacity() < size; });
    if (!spare_.empty()) {
      buffer_ = std::move(spare_.back());
      spare_.pop_back();
      return;
    }
  }
  buffer_ = {};
  buffer_.reserve(size);
}

absl::Status MultipartWriter::Begin() {
  const uint64_t part = PartBytes(1);
  if (part < kMinPartBytes || part > kMaxPartBytes) {
    return InvalidArgument("parts of {} bytes: S3 takes parts of 5 MiB to 5 GiB", part);
  }
  CV_ASSIGN_OR_RETURN(upload_,
                      client_.CreateMultipartUpload(key_, DescriptionOf(options_), deadline_));
  for (int i = 0; i < std::max(1, options_.uploads_in_flight); ++i) {
    workers_.emplace_back([this] { UploadParts(stop_.get_token()); });
  }
  return absl::OkStatus();
}

// Hands the buffer to the workers.
absl::Status MultipartWriter::Dispatch() {
  if (next_number_ > kMaxParts) {
    return MakeStatus(absl::StatusCode::kOutOfRange,
                      "write {}: more than {} parts; use larger parts, or let them grow",
                      Escaped(key_), kMaxParts);
  }
  if (!upload_.has_value()) CV_RETURN_IF_ERROR(Begin());
  std::unique_lock lock(mutex_);
  WaitForRoom(lock, buffer_.size());
  CV_RETURN_IF_ERROR(failure_);
  bytes_in_flight_ += buffer_.size();
  ++parts_in_flight_;
  waiting_.push_back({.number = next_number_++, .bytes = std::exchange(buffer_, {})});
  changed_.notify_all();
  return absl::OkStatus();
}

// The next part will be filled meanwhile: it counts as one more.
void MultipartWriter::WaitForRoom(std::unique_lock<std::mutex>& lock, uint64_t bytes) {
  changed_.wait(lock, [&] {
    const bool fits = bytes_in_flight_ + 2 * bytes <= options_.memory_bytes &&
                      parts_in_flight_ < std::max(1, options_.uploads_in_flight);
    return fits || parts_in_flight_ == 0 || !failure_.ok();
  });
}

void MultipartWriter::UploadParts(const std::stop_token& stop) {
  while (true) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !waiting_.empty() || no_more_parts_; });
    if (waiting_.empty() || !failure_.ok()) return;
    Part part = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    UploadOne(std::move(part), stop);
  }
}

void MultipartWriter::UploadOne(Part part, const std::stop_token& stop) {
  absl::StatusOr<UploadedPart> uploaded =
      client_.UploadPart(*upload_, part.number, part.bytes, deadline_, stop);
  const std::lock_guard lock(mutex_);
  bytes_in_flight_ -= part.bytes.size();
  part.bytes.clear();
  spare_.push_back(std::move(part.bytes));
  --parts_in_flight_;
  if (uploaded.ok()) {
    uploaded_.push_back(*std::move(uploaded));
  } else if (failure_.ok()) {
    failure_ = uploaded.status();
    stop_.request_stop();  // the others are of no use
  }
  changed_.notify_all();
}

void MultipartWriter::JoinWorkers() {
  {
    const std::lock_guard lock(mutex_);
    no_more_parts_ = true;
    changed_.notify_all();
  }
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

absl::StatusOr<StoredObject> MultipartWriter::Finish(const WriteConditions& conditions) {
  if (ended_) return FailedPrecondition("finish {}: the upload has ended", Escaped(key_));
  if (!upload_.has_value() && broken_.ok()) {
    ended_ = true;
    PutOptions options = DescriptionOf(options_);
    options.conditions = conditions;
    return client_.PutObject(key_, buffer_, options, deadline_);
  }
  absl::StatusOr<StoredObject> stored = Complete(conditions);
  ended_ = stored.ok();
  if (!stored.ok()) {
    if (const absl::Status aborted = Abort(); !aborted.ok()) {
      return MakeStatus(stored.status().code(), "{} (and the upload could not be aborted: {})",
                        Message(stored.status()), Message(aborted));
    }
  }
  return stored;
}

absl::StatusOr<StoredObject> MultipartWriter::Complete(const WriteConditions& conditions) {
  CV_RETURN_IF_ERROR(broken_);
  CV_RETURN_IF_ERROR(Dispatch());  // the last part: never empty
  JoinWorkers();
  CV_RETURN_IF_ERROR(failure_);
  std::ranges::sort(uploaded_, {}, &UploadedPart::number);
  return client_.CompleteMultipartUpload(*upload_, uploaded_, conditions, deadline_);
}

absl::Status MultipartWriter::Abort() {
  ended_ = true;
  buffer_ = {};
  if (!upload_.has_value()) return absl::OkStatus();
  stop_.request_stop();
  {
    const std::lock_guard lock(mutex_);
    if (failure_.ok()) failure_ = absl::CancelledError("aborted");
  }
  JoinWorkers();
  // The upload's own deadline may be what has passed.
  return client_.AbortMultipartUpload(*upload_, Deadline::After(kAbortTime));
}

}  // namespace cryptvol::s3
