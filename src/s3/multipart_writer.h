// An object of any length, written as a stream.
#ifndef CRYPTVOL_S3_MULTIPART_WRITER_H_
#define CRYPTVOL_S3_MULTIPART_WRITER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/deadline.h"
#include "base/stream.h"
#include "s3/client.h"

namespace cryptvol::s3 {

// Parts are uploaded by threads while the next ones are being written; each part's bytes are kept
// until its upload has succeeded. What fits into one part becomes a single PutObject. Nothing is
// visible under the key before Finish: call it only when the source has proved to be whole. Without
// Finish, or after its error, the upload is aborted at the latest by the destructor, which may wait
// up to 30 seconds for the server.
class MultipartWriter : public ByteSink {
 public:
  struct Options {
    std::string content_type = {};
    Metadata metadata = {};
    // Bytes to come, about, where it is known: parts are then equally large. Else they grow.
    std::optional<uint64_t> expected_bytes = {};
    // A fixed size of all parts but the last, for servers that want it: 5 MiB to 5 GiB; the object
    // then has at most 10,000 times as much. 0: none.
    uint64_t part_bytes = 0;
    int uploads_in_flight = 4;
    // Of all parts together, while parts are small enough for two of them. Fewer are in flight when
    // they grow: the default holds for objects up to some 120 GiB.
    uint64_t memory_bytes = uint64_t{256} << 20;
  };

  // `client` must outlive the writer. The deadline is that of the whole upload.
  MultipartWriter(Client& client, std::string key, Options options, Deadline deadline);
  MultipartWriter(const MultipartWriter&) = delete;
  MultipartWriter& operator=(const MultipartWriter&) = delete;
  ~MultipartWriter() override;

  // Blocks while as much as is allowed is on its way. Returns the first error of any part.
  absl::Status Write(std::span<const uint8_t> bytes) override;

  // Waits for all parts and makes the object. On any error, MaybeOurs included, the upload is
  // aborted, which does not touch an object that was completed.
  absl::StatusOr<StoredObject> Finish(const WriteConditions& conditions);

  // Ends the parts that are on their way and removes them from the server. The writer is of no more
  // use. An error means that an upload may have stayed: ListMultipartUploads finds it.
  absl::Status Abort();

  uint64_t bytes_written() const { return bytes_written_; }

 private:
  struct Part {
    int number;
    std::vector<uint8_t> bytes;
  };

  uint64_t PartBytes(int number) const;
  absl::Status Append(std::span<const uint8_t> bytes);
  void TakeBuffer(uint64_t size);
  absl::Status Dispatch();
  absl::Status Begin();
  void WaitForRoom(std::unique_lock<std::mutex>& lock, uint64_t bytes);
  void UploadParts(const std::stop_token& stop);
  void UploadOne(Part part, const std::stop_token& stop);
  void JoinWorkers();
  absl::StatusOr<StoredObject> Complete(const WriteConditions& conditions);

  Client& client_;
  const std::string key_;
  const Options options_;
  const Deadline deadline_;

  // The writing thread's.
  std::vector<uint8_t> buffer_;  // of the part that is being filled
  int next_number_ = 1;
  uint64_t bytes_written_ = 0;
  std::optional<Upload> upload_;  // set before the first worker starts
  bool ended_ = false;
  absl::Status broken_;  // of a Write that failed: what is here is not all
  std::stop_source stop_;
  std::vector<std::thread> workers_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // All below: under mutex_.
  std::deque<Part> waiting_;
  // Of parts that were sent, to be filled again: what is freed and allocated anew lies scattered, and
  // takes more memory than its size.
  std::vector<std::vector<uint8_t>> spare_;
  uint64_t bytes_in_flight_ = 0;  // waiting ones included
  int parts_in_flight_ = 0;
  bool no_more_parts_ = false;
  absl::Status failure_;  // of the first part that failed
  std::vector<UploadedPart> uploaded_;
};

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_MULTIPART_WRITER_H_
