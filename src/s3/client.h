// The operations of S3 on one bucket.
#ifndef CRYPTVOL_S3_CLIENT_H_
#define CRYPTVOL_S3_CLIENT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/deadline.h"
#include "base/stream.h"
#include "s3/config.h"
#include "s3/credentials.h"
#include "s3/errors.h"
#include "s3/objects.h"

namespace cryptvol::s3 {

class Requester;

// Every call blocks until it is done, has failed for good, or its deadline has passed
// (DEADLINE_EXCEEDED). What may pass by itself is tried again, with growing waits (Config::retry);
// all bodies are in memory and stay until the call returns. Error codes: errors.h. After UNAVAILABLE
// or DEADLINE_EXCEEDED of a write nobody knows whether it was done; after ABORTED (MaybeOurs) it is
// the caller's to find out. Thread-safe: each call has a connection of its own from a pool.
class Client {
 public:
  static absl::StatusOr<std::unique_ptr<Client>> Create(
      const Config& config, const std::string& bucket,
      std::shared_ptr<CredentialsProvider> credentials);
  ~Client();

  // At most 5 GiB. Replaces what is there, without a condition.
  absl::StatusOr<StoredObject> PutObject(const std::string& key, std::span<const uint8_t> body,
                                         const PutOptions& options, Deadline deadline);

  struct GetOptions {
    uint64_t offset = 0;
    std::optional<uint64_t> length = {};  // exactly so many bytes, at least 1; absent: to the end
    std::string if_match = {};            // an ETag
  };
  // Writes the bytes to the sink in order, each once: after a broken connection it goes on where it
  // stopped, if the object is still the same (FAILED_PRECONDITION otherwise). An error of the sink
  // ends it and is returned. On an error the sink may have had some of the bytes. `size` of the
  // result is the whole object's.
  absl::StatusOr<ObjectInfo> GetObject(const std::string& key, const GetOptions& options,
                                       ByteSink& sink, Deadline deadline);

  // Fills the buffer. OUT_OF_RANGE when the object ends before. `if_match` may be empty.
  absl::Status ReadRange(const std::string& key, uint64_t offset, std::span<uint8_t> buffer,
                         const std::string& if_match, Deadline deadline);

  absl::StatusOr<ObjectInfo> HeadObject(const std::string& key, Deadline deadline);

  struct ListOptions {
    std::string prefix = {};     // bytes, not folders: see FolderPrefix
    std::string delimiter = {};  // keys with it after the prefix become common prefixes
    size_t max_results = 1'000'000;
  };
  // All of them, in the server's order. Servers that do not know encoding-type=url (versitygw 1.8)
  // write U+FFFD for what XML cannot hold, such as ESC: no object has the key that they list then.
  // RESOURCE_EXHAUSTED when there are more than max_results, or more than page_limits.h allows;
  // DATA_LOSS when the server's pages do not end or hold what was not asked for.
  absl::StatusOr<Listing> ListObjects(const ListOptions& options, Deadline deadline);

  // An absent object is success, as in S3.
  absl::Status DeleteObject(const std::string& key, Deadline deadline);

  // A try whose answer was lost may leave a second upload behind: ListMultipartUploads finds it.
  // Only `content_type` and `metadata` of the options count.
  absl::StatusOr<Upload> CreateMultipartUpload(const std::string& key, const PutOptions& options,
                                               Deadline deadline);

  // `number` is 1 to 10,000. Every part but the last has at least 5 MiB.
  absl::StatusOr<UploadedPart> UploadPart(const Upload& upload, int number,
                                          std::span<const uint8_t> body, Deadline deadline,
                                          std::stop_token stop = {});

  struct CopySource {
    std::string key;  // in the same bucket
    uint64_t offset = 0;
    uint64_t length = 0;        // 1 byte to 5 GiB
    std::string if_match = {};  // an ETag: FAILED_PRECONDITION when it is another
  };
  absl::StatusOr<UploadedPart> UploadPartCopy(const Upload& upload, int number,
                                              const CopySource& source, Deadline deadline,
                                              std::stop_token stop = {});

  // `parts` in ascending order.
  absl::StatusOr<StoredObject> CompleteMultipartUpload(const Upload& upload,
                                                       std::span<const UploadedPart> parts,
                                                       const WriteConditions& conditions,
                                                       Deadline deadline);

  // An upload that is gone is success. Never removes a completed object. Parts that are still on
  // their way may survive it: stop them first.
  absl::Status AbortMultipartUpload(const Upload& upload, Deadline deadline);

  // Those whose keys begin with the prefix. Errors as of ListObjects.
  absl::StatusOr<std::vector<Upload>> ListMultipartUploads(const std::string& prefix,
                                                           Deadline deadline);

 private:
  explicit Client(std::unique_ptr<Requester> requester);

  std::unique_ptr<Requester> requester_;
};

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_CLIENT_H_
