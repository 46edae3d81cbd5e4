#include "snapshot/target.h"

#include <algorithm>

#include "base/status.h"
#include "snapshot/bucket_target.h"
#include "snapshot/directory_target.h"

namespace cryptvol::snapshot {
namespace {

constexpr std::string_view kFile = "file:";
constexpr std::string_view kS3 = "s3://";

absl::StatusOr<BucketTarget::Location> ParseLocation(std::string_view text) {
  BucketTarget::Location location;
  const size_t slash = text.find('/');
  location.bucket = text.substr(0, slash);
  if (slash == std::string_view::npos) return location;
  location.prefix = text.substr(slash + 1);
  while (location.prefix.ends_with('/')) location.prefix.pop_back();
  // It is recorded in manifests, and shown.
  const bool printable =
      std::ranges::all_of(location.prefix, [](char c) { return c > ' ' && c <= '~'; });
  if (!printable || location.prefix.starts_with('/')) {
    return InvalidArgument(
        "the target: a prefix in a bucket has printable ASCII, no spaces, and no slash at its "
        "beginning");
  }
  return location;
}

absl::Status NoTarget(const std::string& text) {
  return InvalidArgument(
      "the target \"{}\" is neither file:DIRECTORY nor s3://BUCKET/PREFIX; write file:{} for a "
      "directory",
      text, text);
}

}  // namespace

absl::StatusOr<std::string> TargetName(const std::string& text) {
  if (text.starts_with(kFile)) {
    CV_ASSIGN_OR_RETURN(const std::string path, DirectoryTarget::PathOf(text.substr(kFile.size())));
    return std::string(kFile) + path;
  }
  if (!text.starts_with(kS3)) return NoTarget(text);
  CV_ASSIGN_OR_RETURN(const BucketTarget::Location location,
                      ParseLocation(std::string_view(text).substr(kS3.size())));
  return BucketTarget::NameOf(location);
}

absl::StatusOr<std::unique_ptr<Target>> OpenTarget(const std::string& text,
                                                   const TargetOptions& options) {
  if (text.starts_with(kFile)) {
    return DirectoryTarget::Open(text.substr(kFile.size()), options.create);
  }
  if (text.starts_with(kS3)) {
    CV_ASSIGN_OR_RETURN(const BucketTarget::Location location,
                        ParseLocation(std::string_view(text).substr(kS3.size())));
    return OpenBucket(location, options);
  }
  return NoTarget(text);
}

}  // namespace cryptvol::snapshot
