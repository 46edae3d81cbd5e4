#include "snapshot/bucket_header.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/log.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/status.h"
#include "s3/multipart_writer.h"
#include "s3/part_sizes.h"
#include "s3/text.h"
#include "snapshot/range_reader.h"

namespace cryptvol::snapshot {
namespace {

constexpr char kMarkName[] = "cryptsnap-upload";
constexpr char kContentType[] = "application/octet-stream";
// Copied at once. Larger ones keep a server busy for longer than some proxies wait.
constexpr uint64_t kCopyBytes = uint64_t{1} << 30;

// What a server answers that has no UploadPartCopy; one that takes it for an UploadPart answers
// without the ETag (DATA_LOSS).
bool CannotCopy(const absl::Status& status) {
  return absl::IsUnimplemented(status) || absl::IsInvalidArgument(status) ||
         absl::IsDataLoss(status);
}

}  // namespace

absl::StatusOr<UploadMark> UploadMark::New() {
  std::array<uint8_t, 16> random;
  CV_RETURN_IF_ERROR(FillRandom(random));
  return UploadMark(Hex(random));
}

s3::Metadata UploadMark::metadata() const { return {{kMarkName, value_}}; }

absl::Status UploadMark::Resolve(s3::Client& client, const std::string& key,
                                 const absl::Status& failure, absl::StatusCode not_ours,
                                 Deadline deadline) const {
  CV_ASSIGN_OR_RETURN(const s3::ObjectInfo info, client.HeadObject(key, deadline));
  const auto mark = info.metadata.find(kMarkName);
  if (mark != info.metadata.end() && mark->second == value_) return absl::OkStatus();
  return MakeStatus(not_ours, "{}", Message(failure));
}

absl::Status BucketHeader::Replace(const NewHeader& header, RangeSource& current) {
  CV_ASSIGN_OR_RETURN(const UploadMark mark, UploadMark::New());
  absl::Status status = absl::UnimplementedError("too small to be copied");
  if (current.size() - header.old_bytes > s3::kMinPartBytes) {
    status = Copy(header, current, mark);
  }
  if (CannotCopy(status)) status = SendAgain(header, current, mark);
  if (!s3::MaybeOurs(status)) return status;
  return mark.Resolve(client_, options_.key, status, absl::StatusCode::kFailedPrecondition,
                      deadline_);
}

absl::StatusOr<std::vector<s3::UploadedPart>> BucketHeader::CopyParts(const s3::Upload& upload,
                                                                      const NewHeader& header,
                                                                      RangeSource& current) {
  // Only the last part may be smaller than S3's least.
  std::vector<uint8_t> first(header.bytes.size() + s3::kMinPartBytes);
  std::ranges::copy(header.bytes, first.begin());
  CV_RETURN_IF_ERROR(
      current.ReadAt(header.old_bytes, std::span(first).subspan(header.bytes.size())));
  std::vector<s3::UploadedPart> parts;
  CV_ASSIGN_OR_RETURN(parts.emplace_back(), client_.UploadPart(upload, 1, first, deadline_));
  uint64_t offset = header.old_bytes + s3::kMinPartBytes;
  while (offset < current.size()) {
    const s3::Client::CopySource rest = {.key = options_.key,
                                         .offset = offset,
                                         .length = std::min(kCopyBytes, current.size() - offset),
                                         .if_match = options_.etag};
    const int number = static_cast<int>(parts.size()) + 1;
    CV_ASSIGN_OR_RETURN(parts.emplace_back(),
                        client_.UploadPartCopy(upload, number, rest, deadline_));
    offset += rest.length;
  }
  return parts;
}

absl::Status BucketHeader::Copy(const NewHeader& header, RangeSource& current,
                                const UploadMark& mark) {
  CV_ASSIGN_OR_RETURN(
      const s3::Upload upload,
      client_.CreateMultipartUpload(
          options_.key, {.content_type = kContentType, .metadata = mark.metadata()}, deadline_));
  absl::Status status;
  const auto parts = CopyParts(upload, header, current);
  if (parts.ok()) {
    status = client_.CompleteMultipartUpload(upload, *parts, {.if_match = options_.etag}, deadline_)
                 .status();
  } else {
    status = parts.status();
  }
  if (status.ok()) return status;
  // It never removes what was completed.
  const absl::Status aborted =
      client_.AbortMultipartUpload(upload, Deadline::After(std::chrono::seconds(30)));
  if (!aborted.ok()) {
    Log(LogLevel::kWarning, "an upload that was begun may have stayed in the bucket",
        {{"key", s3::Escaped(options_.key)}, {"error", Message(aborted)}});
  }
  return status;
}

absl::Status BucketHeader::SendAgain(const NewHeader& header, RangeSource& current,
                                     const UploadMark& mark) {
  s3::MultipartWriter writer(
      client_, options_.key,
      {.content_type = kContentType,
       .metadata = mark.metadata(),
       .expected_bytes = header.bytes.size() + current.size() - header.old_bytes,
       .part_bytes = options_.part_bytes},
      deadline_);
  CV_RETURN_IF_ERROR(writer.Write(AsBytes(header.bytes)));
  RangeReader rest(current, header.old_bytes, RangeReader::kDefaultReads);
  CV_RETURN_IF_ERROR(CopyStream(rest, writer));
  return writer.Finish({.if_match = options_.etag}).status();
}

}  // namespace cryptvol::snapshot
