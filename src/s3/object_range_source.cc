#include "s3/object_range_source.h"

#include <utility>

#include "base/status.h"
#include "s3/text.h"

namespace cryptvol::s3 {

ObjectRangeSource::ObjectRangeSource(Client& client, std::string key,
                                     std::chrono::milliseconds time_per_read, ObjectInfo info)
    : client_(client),
      key_(std::move(key)),
      time_per_read_(time_per_read),
      info_(std::move(info)) {}

absl::StatusOr<std::unique_ptr<ObjectRangeSource>> ObjectRangeSource::Open(
    Client& client, const std::string& key, std::chrono::milliseconds time_per_read) {
  CV_ASSIGN_OR_RETURN(ObjectInfo info, client.HeadObject(key, Deadline::After(time_per_read)));
  if (info.etag.empty()) {
    return FailedPrecondition(
        "read {}: the server gives no ETag, so that reads of the object might mix two versions; is "
        "this an S3 server?",
        Escaped(key));
  }
  return std::unique_ptr<ObjectRangeSource>(
      new ObjectRangeSource(client, key, time_per_read, std::move(info)));
}

absl::Status ObjectRangeSource::ReadAt(uint64_t offset, std::span<uint8_t> buffer) {
  if (offset > size() || buffer.size() > size() - offset) {
    return MakeStatus(absl::StatusCode::kOutOfRange,
                      "read {} bytes at {} of {}: the object has {} bytes", buffer.size(), offset,
                      Escaped(key_), size());
  }
  return client_.ReadRange(key_, offset, buffer, info_.etag, Deadline::After(time_per_read_));
}

}  // namespace cryptvol::s3
