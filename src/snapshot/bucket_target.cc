#include "snapshot/bucket_target.h"

#include <algorithm>
#include <array>
#include <utility>

#include "age/primitives.h"
#include "base/bytes.h"
#include "base/sha256.h"
#include "base/status.h"
#include "s3/credentials.h"
#include "s3/multipart_writer.h"
#include "s3/object_range_source.h"
#include "s3/part_sizes.h"
#include "s3/text.h"
#include "snapshot/bucket_header.h"

namespace cryptvol::snapshot {
namespace {

constexpr size_t kMaxForeignNames = 20;

absl::Status CheckPartBytes(uint64_t bytes) {
  if (bytes == 0 || (bytes >= s3::kMinPartBytes && bytes <= s3::kMaxPartBytes)) {
    return absl::OkStatus();
  }
  return InvalidArgument("uploads in parts of {} bytes: S3 takes parts of 5 MiB to 5 GiB", bytes);
}

class LimitedSink : public ByteSink {
 public:
  explicit LimitedSink(size_t limit) : limit_(limit) {}
  absl::Status Write(std::span<const uint8_t> bytes) override {
    if (bytes.size() > limit_ - content.size()) {
      return MakeStatus(absl::StatusCode::kResourceExhausted,
                        "it has more than {} bytes, and no such file of ours has", limit_);
    }
    content.append(bytes.begin(), bytes.end());
    return absl::OkStatus();
  }
  std::string content;

 private:
  const size_t limit_;
};

class BucketPayloadWriter : public PayloadWriter {
 public:
  // `folder`: of the target, with a slash at its end.
  BucketPayloadWriter(s3::Client& client, std::string folder, std::string key, UploadMark mark,
                      s3::MultipartWriter::Options options, const TargetOptions& limits)
      : client_(client),
        folder_(std::move(folder)),
        key_(key),
        mark_(std::move(mark)),
        request_timeout_(limits.request_timeout),
        listing_timeout_(limits.listing_timeout),
        writer_(client, std::move(key), std::move(options),
                Deadline::After(limits.upload_timeout)) {}

  absl::Status Write(std::span<const uint8_t> bytes) override {
    bytes_ += bytes.size();
    return TargetStatus(writer_.Write(bytes));
  }
  absl::Status Finish() override {
    const absl::Status status = writer_.Finish({.must_not_exist = true}).status();
    if (!s3::MaybeOurs(status)) return TargetStatus(status);
    const absl::Status resolved = mark_.Resolve(
        client_, key_, status, absl::StatusCode::kAlreadyExists, Deadline::After(request_timeout_));
    if (absl::IsPermissionDenied(resolved)) return FindInListing(status);
    return TargetStatus(resolved);
  }
  absl::Status Abort() override { return TargetStatus(writer_.Abort()); }

 private:
  // Where payloads may not be read. Nobody else makes up the 64 random bits of the key; and whoever
  // waited for an upload of that key to put something in its place could do so later as well.
  absl::Status FindInListing(const absl::Status& failure) {
    const auto listed = client_.ListObjects({.prefix = folder_, .max_results = kMaxListedFiles},
                                            Deadline::After(listing_timeout_));
    if (!listed.ok()) return TargetStatus(listed.status());
    const bool found = std::ranges::any_of(listed->objects, [&](const s3::ListedObject& object) {
      return object.key == key_ && object.size == bytes_;
    });
    if (found) return absl::OkStatus();
    return MakeStatus(absl::StatusCode::kUnavailable, "{}", Message(failure));
  }

  s3::Client& client_;
  const std::string folder_;
  const std::string key_;
  const UploadMark mark_;
  const std::chrono::seconds request_timeout_;
  const std::chrono::seconds listing_timeout_;
  uint64_t bytes_ = 0;
  s3::MultipartWriter writer_;
};

// Reads whose errors have Target's codes.
class BucketPayload : public RangeSource {
 public:
  explicit BucketPayload(std::unique_ptr<s3::ObjectRangeSource> object)
      : object_(std::move(object)) {}
  uint64_t size() const override { return object_->size(); }
  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
    return TargetStatus(object_->ReadAt(offset, buffer));
  }
  const std::string& etag() const { return object_->info().etag; }
  // With S3's own codes: that the object was changed meanwhile is one.
  RangeSource& object() const { return *object_; }

 private:
  const std::unique_ptr<s3::ObjectRangeSource> object_;
};

}  // namespace

Timestamp StoreTime(const std::string& iso, Timestamp unknown) {
  const size_t end = std::min(iso.find_first_of(".Z+"), iso.size());
  const bool is_utc = iso.ends_with('Z') || iso.ends_with("+00:00");
  return is_utc ? ParseTimestamp(iso.substr(0, end) + "Z").value_or(unknown) : unknown;
}

absl::Status TargetStatus(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
      return MakeStatus(absl::StatusCode::kPermissionDenied, "{}", Message(status));
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kDataLoss:
      return MakeStatus(absl::StatusCode::kUnavailable, "{}", Message(status));
    default:
      return status;
  }
}

std::string BucketTarget::NameOf(const Location& location) {
  return "s3://" + location.bucket + (location.prefix.empty() ? "" : "/" + location.prefix);
}

BucketTarget::BucketTarget(std::unique_ptr<s3::Client> client, const Location& location,
                           const TargetOptions& options)
    : client_(std::move(client)),
      name_(NameOf(location)),
      folder_(s3::FolderPrefix(location.prefix)),
      options_(options) {}

absl::StatusOr<std::unique_ptr<Target>> OpenBucket(const BucketTarget::Location& location,
                                                   const TargetOptions& options) {
  CV_RETURN_IF_ERROR(CheckPartBytes(options.part_bytes));
  CV_ASSIGN_OR_RETURN(s3::Config config, s3::ConfigFromEnvironment(options.environment));
  config.addressing = options.addressing;
  config.allow_http = options.allow_http;
  config.content_md5 = options.content_md5;
  CV_ASSIGN_OR_RETURN(auto client, s3::Client::Create(config, location.bucket,
                                                      s3::DefaultCredentials(options.environment)));
  return std::make_unique<BucketTarget>(std::move(client), location, options);
}

absl::Status BucketTarget::Create(const FileName& name, std::string_view content) {
  const absl::Status status =
      client_
          ->PutObject(KeyOf(name), AsBytes(content),
                      {.conditions = {.must_not_exist = true}, .content_sha256 = Sha256(content)},
                      RequestDeadline())
          .status();
  if (!s3::MaybeOurs(status)) return TargetStatus(status);
  // The content tells: it is signed, or names what no other writer's does.
  const absl::StatusOr<std::string> there = Read(name, content.size());
  if (there.ok() && *there == content) return absl::OkStatus();
  if (!there.ok() && !absl::IsResourceExhausted(there.status())) return there.status();
  return MakeStatus(absl::StatusCode::kAlreadyExists, "create {}: there is another one",
                    name.path());
}

absl::StatusOr<std::string> BucketTarget::Read(const FileName& name, size_t limit) {
  LimitedSink sink(limit);
  const auto read = client_->GetObject(KeyOf(name), {}, sink, RequestDeadline());
  if (!read.ok()) return Annotate(TargetStatus(read.status()), "read " + name.path());
  return std::move(sink.content);
}

absl::StatusOr<Listing> BucketTarget::List() {
  const auto listed = client_->ListObjects({.prefix = folder_, .max_results = kMaxListedFiles},
                                           Deadline::After(options_.listing_timeout));
  if (!listed.ok()) return TargetStatus(listed.status());
  const Timestamp now = SystemTime();
  Listing listing;
  for (const s3::ListedObject& object : listed->objects) {
    const std::string_view path = std::string_view(object.key).substr(folder_.size());
    if (const auto name = FileName::Parse(path)) {
      listing.files.push_back(
          {.name = *name, .size = object.size, .modified = StoreTime(object.last_modified, now)});
      continue;
    }
    ++listing.foreign_count;
    if (listing.foreign.size() < kMaxForeignNames) listing.foreign.push_back(s3::Escaped(path));
  }
  return listing;
}

absl::StatusOr<std::unique_ptr<PayloadWriter>> BucketTarget::NewPayload(
    const FileName& name, std::optional<uint64_t> expected_bytes) {
  const uint64_t part = options_.part_bytes;
  if (part > 0 && expected_bytes.value_or(0) > part * s3::kMaxParts) {
    return InvalidArgument(
        "store about {} bytes in parts of {}: S3 takes {} of them; use larger ones, or let "
        "them be chosen",
        *expected_bytes, part, s3::kMaxParts);
  }
  CV_ASSIGN_OR_RETURN(UploadMark mark, UploadMark::New());
  s3::MultipartWriter::Options options = {.content_type = "application/octet-stream",
                                          .metadata = mark.metadata(),
                                          .expected_bytes = expected_bytes,
                                          .part_bytes = options_.part_bytes,
                                          .uploads_in_flight = options_.uploads_in_flight};
  return std::make_unique<BucketPayloadWriter>(*client_, folder_, KeyOf(name), std::move(mark),
                                               std::move(options), options_);
}

absl::StatusOr<std::unique_ptr<RangeSource>> BucketTarget::OpenPayload(const FileName& name) {
  auto object = s3::ObjectRangeSource::Open(*client_, KeyOf(name), options_.request_timeout);
  if (!object.ok()) return TargetStatus(object.status());
  return std::make_unique<BucketPayload>(*std::move(object));
}

absl::Status BucketTarget::ReplaceHeader(const FileName& name, const NewHeader& header,
                                         RangeSource& current) {
  const auto* payload = dynamic_cast<const BucketPayload*>(&current);
  if (payload == nullptr) return Internal("replace a header: the payload is of another target");
  BucketHeader replacement(*client_, {.key = KeyOf(name),
                                      .etag = payload->etag(),
                                      .part_bytes = options_.part_bytes,
                                      .timeout = options_.upload_timeout});
  const absl::Status replaced = replacement.Replace(header, payload->object());
  // Of this one it is the payload that was changed meanwhile.
  return Annotate(absl::IsFailedPrecondition(replaced) ? replaced : TargetStatus(replaced),
                  "replace the header of " + name.path());
}

absl::Status BucketTarget::Remove(const FileName& name) {
  return TargetStatus(client_->DeleteObject(KeyOf(name), RequestDeadline()));
}

absl::StatusOr<std::vector<AbandonedUpload>> BucketTarget::AbortAbandoned(Timestamp before,
                                                                          bool dry_run) {
  const auto uploads =
      client_->ListMultipartUploads(folder_, Deadline::After(options_.listing_timeout));
  if (!uploads.ok()) return TargetStatus(uploads.status());
  const Timestamp now = SystemTime();
  std::vector<AbandonedUpload> abandoned;
  for (const s3::Upload& upload : *uploads) {
    const std::string_view path = std::string_view(upload.key).substr(folder_.size());
    const Timestamp started = StoreTime(upload.initiated, now);
    if (!FileName::Parse(path) || started >= before) continue;
    if (!dry_run) {
      CV_RETURN_IF_ERROR(TargetStatus(client_->AbortMultipartUpload(upload, RequestDeadline())));
    }
    abandoned.push_back({.name = s3::Escaped(path), .started = started});
  }
  return abandoned;
}

}  // namespace cryptvol::snapshot
