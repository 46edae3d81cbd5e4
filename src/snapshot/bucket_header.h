// Puts another header before a payload in a bucket.
#ifndef CRYPTVOL_SNAPSHOT_BUCKET_HEADER_H_
#define CRYPTVOL_SNAPSHOT_BUCKET_HEADER_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/deadline.h"
#include "base/stream.h"
#include "s3/client.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot {

// A random value in an object's metadata, by which its writer knows it again when the answer to the
// writing was lost.
class UploadMark {
 public:
  static absl::StatusOr<UploadMark> New();
  s3::Metadata metadata() const;
  // After MaybeOurs: OK when the object has this mark, else `not_ours` with `failure`'s words.
  absl::Status Resolve(s3::Client& client, const std::string& key, const absl::Status& failure,
                       absl::StatusCode not_ours, Deadline deadline) const;

 private:
  explicit UploadMark(std::string value) : value_(std::move(value)) {}
  std::string value_;
};

// A new object under the same key, which appears at once and only while the old one is there: the
// first bytes are sent, the rest is copied by the server, or sent too where it cannot.
class BucketHeader {
 public:
  struct Options {
    std::string key;
    std::string etag;         // of the old object
    uint64_t part_bytes = 0;  // as TargetOptions has it
    std::chrono::seconds timeout;
  };
  // `client` outlives this.
  BucketHeader(s3::Client& client, Options options)
      : client_(client),
        options_(std::move(options)),
        deadline_(Deadline::After(options_.timeout)) {}

  absl::Status Replace(const NewHeader& header, RangeSource& current);

 private:
  absl::Status Copy(const NewHeader& header, RangeSource& current, const UploadMark& mark);
  absl::StatusOr<std::vector<s3::UploadedPart>> CopyParts(const s3::Upload& upload,
                                                          const NewHeader& header,
                                                          RangeSource& current);
  absl::Status SendAgain(const NewHeader& header, RangeSource& current, const UploadMark& mark);

  s3::Client& client_;
  const Options options_;
  const Deadline deadline_;
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_BUCKET_HEADER_H_
