// An object in a bucket as something that can be read anywhere.
#ifndef CRYPTVOL_S3_OBJECT_RANGE_SOURCE_H_
#define CRYPTVOL_S3_OBJECT_RANGE_SOURCE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "base/stream.h"
#include "s3/client.h"

namespace cryptvol::s3 {

// Each read is a request: read in large pieces. All reads are of one version of the object:
// FAILED_PRECONDITION once it was replaced. Thread-safe.
class ObjectRangeSource : public RangeSource {
 public:
  // Asks for size and ETag. `client` must outlive the source; `time_per_read` bounds each read with
  // its retries, and the call itself.
  static absl::StatusOr<std::unique_ptr<ObjectRangeSource>> Open(
      Client& client, const std::string& key, std::chrono::milliseconds time_per_read);

  uint64_t size() const override { return info_.size; }
  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override;
  const ObjectInfo& info() const { return info_; }

 private:
  ObjectRangeSource(Client& client, std::string key, std::chrono::milliseconds time_per_read,
                    ObjectInfo info);

  Client& client_;
  const std::string key_;
  const std::chrono::milliseconds time_per_read_;
  const ObjectInfo info_;
};

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_OBJECT_RANGE_SOURCE_H_
