// GetObject: an object's bytes in order, over as many requests as it takes.
#ifndef CRYPTVOL_S3_DOWNLOAD_H_
#define CRYPTVOL_S3_DOWNLOAD_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "base/deadline.h"
#include "base/stream.h"
#include "s3/client.h"
#include "s3/requester.h"
#include "s3/retry.h"

namespace cryptvol::s3 {

// Used once.
class Download {
 public:
  Download(Requester& requester, const std::string& key, const Client::GetOptions& options,
           ByteSink& sink);

  absl::StatusOr<ObjectInfo> Run(Deadline deadline);

 private:
  Attempt Try(Deadline deadline);
  Request NextRequest();
  // Whether the answer holds the bytes that come next. Learns the object's size and ETag.
  absl::Status Accept(const HttpAnswer& answer);
  absl::Status AcceptRange(const HttpAnswer& answer);
  absl::Status AcceptWhole(const HttpAnswer& answer);
  absl::Status Named(const absl::Status& status) const;

  // Counts, and lets nothing through that was not asked for.
  class Counter : public ByteSink {
   public:
    explicit Counter(Download& download) : download_(download) {}
    absl::Status Write(std::span<const uint8_t> bytes) override;

   private:
    Download& download_;
  };

  Requester& requester_;
  const std::string key_;
  ByteSink& sink_;
  Counter counter_;
  bool ranged_;                  // a part is asked for, not the whole object
  bool accepted_ = false;        // this try's answer
  uint64_t next_;                // the first byte that is still to come
  std::optional<uint64_t> end_;  // the one after the last
  std::string etag_;             // of what was read so far
  ObjectInfo info_;
};

// Fills a buffer.
class SpanSink : public ByteSink {
 public:
  explicit SpanSink(std::span<uint8_t> buffer) : left_(buffer) {}
  absl::Status Write(std::span<const uint8_t> bytes) override {
    if (bytes.size() > left_.size()) return Internal("more bytes than the buffer takes");
    std::ranges::copy(bytes, left_.begin());
    left_ = left_.subspan(bytes.size());
    return absl::OkStatus();
  }

 private:
  std::span<uint8_t> left_;
};

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_DOWNLOAD_H_
