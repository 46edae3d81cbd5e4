// A bucket, or a folder of one, as a target.
#ifndef CRYPTVOL_SNAPSHOT_BUCKET_TARGET_H_
#define CRYPTVOL_SNAPSHOT_BUCKET_TARGET_H_

#include <memory>
#include <string>

#include "s3/client.h"
#include "s3/objects.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot {

// The prefix is matched up to a slash: "prod" is not "prod2".
class BucketTarget : public Target {
 public:
  struct Location {
    std::string bucket;
    std::string prefix;  // without slashes around it; empty: the whole bucket
  };

  // "s3://BUCKET/PREFIX"
  static std::string NameOf(const Location& location);

  BucketTarget(std::unique_ptr<s3::Client> client, const Location& location,
               const TargetOptions& options);

  const std::string& name() const override { return name_; }
  absl::Status Create(const FileName& name, std::string_view content) override;
  absl::StatusOr<std::string> Read(const FileName& name, size_t limit) override;
  absl::StatusOr<Listing> List() override;
  absl::StatusOr<std::unique_ptr<PayloadWriter>> NewPayload(
      const FileName& name, std::optional<uint64_t> expected_bytes) override;
  absl::StatusOr<std::unique_ptr<RangeSource>> OpenPayload(const FileName& name) override;
  absl::Status ReplaceHeader(const FileName& name, const NewHeader& header,
                             RangeSource& current) override;
  absl::Status Remove(const FileName& name) override;
  absl::StatusOr<std::vector<AbandonedUpload>> AbortAbandoned(Timestamp before,
                                                              bool dry_run) override;

 private:
  std::string KeyOf(const FileName& name) const { return folder_ + name.path(); }
  Deadline RequestDeadline() const { return Deadline::After(options_.request_timeout); }

  const std::unique_ptr<s3::Client> client_;
  const std::string name_;
  const std::string folder_;  // the prefix and a slash, or nothing
  const TargetOptions options_;
};

// With credentials and configuration from the options' environment.
absl::StatusOr<std::unique_ptr<Target>> OpenBucket(const BucketTarget::Location& location,
                                                   const TargetOptions& options);

// Of a listing: "2026-11-22T09:30:00.123Z", or with "+00:00", without the fraction. What else a server
// may say is `unknown`: nothing must look old because of it.
Timestamp StoreTime(const std::string& iso, Timestamp unknown);

// S3's codes as Target has them: UNAUTHENTICATED is kept for identities that open nothing,
// INVALID_ARGUMENT for options and headers, FAILED_PRECONDITION for chains, DATA_LOSS for what was
// altered. A server that refuses, whose certificate is not trusted, or that answers what no S3 server
// does, as the login page of a proxy, is transport.
absl::Status TargetStatus(const absl::Status& status);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_BUCKET_TARGET_H_
