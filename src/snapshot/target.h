// Where backups lie: a directory or a bucket.
#ifndef CRYPTVOL_SNAPSHOT_TARGET_H_
#define CRYPTVOL_SNAPSHOT_TARGET_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/stream.h"
#include "s3/config.h"
#include "s3/environment.h"
#include "snapshot/file_name.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

// A payload on its way. Without Finish nothing stays under its name; the destructor does what Abort
// does. Not thread-safe.
class PayloadWriter : public ByteSink {
 public:
  // The payload appears, whole and durable. ALREADY_EXISTS when there is one of that name.
  virtual absl::Status Finish() = 0;
  // An error means that something without a name may have stayed: AbortAbandoned finds it.
  virtual absl::Status Abort() = 0;
};

struct ListedFile {
  FileName name;
  uint64_t size = 0;
  Timestamp modified;  // by the store's clock
};

struct Listing {
  std::vector<ListedFile> files;  // in no order
  // What is none of ours: printable, for messages; the first few of them.
  std::vector<std::string> foreign;
  uint64_t foreign_count = 0;
};

inline constexpr size_t kMaxListedFiles = 1'000'000;

// What stands before the chunks of a payload, to be put in the place of what stands there now. Both
// end with the same nonce.
struct NewHeader {
  std::string bytes;       // header and nonce
  uint64_t old_bytes = 0;  // how much of the payload they replace
};

// An upload that was begun and never finished.
struct AbandonedUpload {
  std::string name;  // printable
  Timestamp started;
};

// Thread-safe, but for the writers that it hands out. Codes of all, beside those named:
//  UNAVAILABLE, DEADLINE_EXCEEDED  transport
//  PERMISSION_DENIED               the store refuses this user, or its credentials
//  RESOURCE_EXHAUSTED              the disk is full; a file or listing is larger than allowed
class Target {
 public:
  virtual ~Target() = default;

  // As manifests record it: "file:/DIR" or "s3://BUCKET/PREFIX".
  virtual const std::string& name() const = 0;

  // A small file, durable. ALREADY_EXISTS when there is one, which then stays as it is.
  virtual absl::Status Create(const FileName& name, std::string_view content) = 0;
  // At most `limit` bytes. NOT_FOUND.
  virtual absl::StatusOr<std::string> Read(const FileName& name, size_t limit) = 0;
  virtual absl::StatusOr<Listing> List() = 0;
  // `expected_bytes`: about how much will come, where that is known. INVALID_ARGUMENT when that
  // cannot be stored in parts of the size that was asked for.
  virtual absl::StatusOr<std::unique_ptr<PayloadWriter>> NewPayload(
      const FileName& name, std::optional<uint64_t> expected_bytes) = 0;
  // One version of it, however long it is read. NOT_FOUND. May refer to the target.
  virtual absl::StatusOr<std::unique_ptr<RangeSource>> OpenPayload(const FileName& name) = 0;
  // All at once: at every instant the payload has either header. FAILED_PRECONDITION when it is not
  // `current`, an OpenPayload's, any more.
  virtual absl::Status ReplaceHeader(const FileName& name, const NewHeader& header,
                                     RangeSource& current) = 0;
  // An absent file is success.
  virtual absl::Status Remove(const FileName& name) = 0;
  // Those begun before `before`. With `dry_run` they stay.
  virtual absl::StatusOr<std::vector<AbandonedUpload>> AbortAbandoned(Timestamp before,
                                                                      bool dry_run) = 0;
};

struct TargetOptions {
  // A directory that is absent is made (mode 0700); else it is NOT_FOUND. For save.
  bool create = false;
  s3::Environment environment = s3::ProcessEnvironment();  // AWS_*
  s3::Addressing addressing = s3::Addressing::kAuto;
  bool allow_http = false;
  bool content_md5 = false;
  uint64_t part_bytes = 0;  // of S3 uploads: 0 chooses, else 5 MiB to 5 GiB (INVALID_ARGUMENT)
  int uploads_in_flight = 4;
  std::chrono::seconds request_timeout{600};       // of each request, its retries included
  std::chrono::seconds upload_timeout{24 * 3600};  // of a whole payload
  std::chrono::seconds listing_timeout{1800};      // of all pages of a listing
};

// The target's name as OpenTarget's has it, without a look at what is there: a path is made absolute,
// and slashes at the end go. INVALID_ARGUMENT for anything else than OpenTarget takes.
absl::StatusOr<std::string> TargetName(const std::string& text);

// "file:DIR" (made absolute) or "s3://BUCKET[/PREFIX]". INVALID_ARGUMENT for anything else.
absl::StatusOr<std::unique_ptr<Target>> OpenTarget(const std::string& text,
                                                   const TargetOptions& options);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_TARGET_H_
