#include "s3/download.h"

#include <utility>

#include "base/status.h"
#include "s3/object_headers.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

absl::Status Unexpected(const std::string& what) {
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "{}; the server, or a proxy before it, is at fault", what);
}

}  // namespace

Download::Download(Requester& requester, const std::string& key, const Client::GetOptions& options,
                   ByteSink& sink)
    : requester_(requester),
      key_(key),
      sink_(sink),
      counter_(*this),
      ranged_(options.offset > 0 || options.length.has_value()),
      next_(options.offset),
      etag_(options.if_match) {
  if (options.length.has_value()) end_ = options.offset + *options.length;
}

absl::Status Download::Counter::Write(std::span<const uint8_t> bytes) {
  if (bytes.size() > *download_.end_ - download_.next_) {
    return Unexpected("more bytes than were asked for");
  }
  CV_RETURN_IF_ERROR(download_.sink_.Write(bytes));
  download_.next_ += bytes.size();
  return absl::OkStatus();
}

absl::Status Download::Named(const absl::Status& status) const {
  return Annotate(status, "GetObject s3://" + requester_.bucket() + "/" + Escaped(key_));
}

absl::StatusOr<ObjectInfo> Download::Run(Deadline deadline) {
  CV_RETURN_IF_ERROR(Retry(requester_.config().retry, deadline, {}, [&] { return Try(deadline); }));
  return info_;
}

Request Download::NextRequest() {
  Request request = {.operation = "GetObject", .permission = "s3:GetObject", .method = "GET"};
  request.key = key_;
  request.sink = &counter_;
  request.accept = [this](const HttpAnswer& answer) { return Accept(answer); };
  if (!etag_.empty()) request.headers.emplace_back("if-match", etag_);
  if (ranged_) {
    const std::string last = end_.has_value() ? fmt::format("{}", *end_ - 1) : "";
    request.headers.emplace_back("range", fmt::format("bytes={}-{}", next_, last));
  }
  return request;
}

Attempt Download::Try(Deadline deadline) {
  const uint64_t before = next_;
  accepted_ = false;
  Requester::Outcome outcome = requester_.SendOnce(NextRequest(), deadline);
  const bool progress = next_ > before;
  // What follows is a part, also of a whole object.
  ranged_ = ranged_ || progress;
  // An empty body asked nobody.
  if (outcome.status.ok() && !accepted_) outcome.status = Named(Accept(outcome.answer));
  // Content-Length may say less than Content-Range.
  if (outcome.status.ok() && next_ != end_)
    outcome.status = Named(Unexpected("the answer ended early"));
  if (!outcome.status.ok()) {
    // Everything arrived, though the connection did not end as it should.
    if (progress && next_ == end_) return {.status = absl::OkStatus()};
    // Without an ETag nobody knows whether the rest would be the same object's.
    const bool known = !progress || !etag_.empty();
    return {
        .status = outcome.status, .retryable = outcome.retryable && known, .progress = progress};
  }
  return {.status = absl::OkStatus()};
}

absl::Status Download::Accept(const HttpAnswer& answer) {
  accepted_ = true;
  CV_RETURN_IF_ERROR(ranged_ ? AcceptRange(answer) : AcceptWhole(answer));
  ObjectInfo info = ReadObjectInfo(answer);
  info.size = info_.size;
  if (!etag_.empty() && info.etag != etag_) {
    return FailedPrecondition("another object came than was asked for: ETag {} in place of {}",
                              Escaped(info.etag), Escaped(etag_));
  }
  etag_ = info.etag;
  info_ = std::move(info);
  return absl::OkStatus();
}

absl::Status Download::AcceptRange(const HttpAnswer& answer) {
  const std::optional<ContentRange> range = ParseContentRange(answer.Header("content-range"));
  if (answer.status != 206 || !range.has_value()) {
    return Unexpected(
        fmt::format("a range was asked for, and the answer is none (HTTP {})", answer.status));
  }
  if (end_.has_value() && *end_ > range->total) {
    return MakeStatus(absl::StatusCode::kOutOfRange,
                      "the object has {} bytes, and bytes up to {} were asked for", range->total,
                      *end_);
  }
  const uint64_t end = end_.value_or(range->total);
  if (range->first != next_ || range->last + 1 != end) {
    return Unexpected(fmt::format("bytes {} to {} were asked for, and {} to {} came", next_,
                                  end - 1, range->first, range->last));
  }
  end_ = end;
  info_.size = range->total;
  return absl::OkStatus();
}

absl::Status Download::AcceptWhole(const HttpAnswer& answer) {
  const std::optional<uint64_t> size = ParseSize(answer.Header("content-length"));
  // Without it an answer that is cut off looks like a whole one.
  if (answer.status != 200 || !size.has_value()) {
    return Unexpected(
        fmt::format("the answer (HTTP {}) does not say how long the object is", answer.status));
  }
  end_ = *size;
  info_.size = *size;
  return absl::OkStatus();
}

}  // namespace cryptvol::s3
