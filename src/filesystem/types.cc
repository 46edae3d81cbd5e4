#include "base/status.h"
#include "filesystem/tools.h"

namespace cryptvol::filesystem {

absl::StatusOr<std::string> NormalizeType(const std::string& fs_type) {
  if (fs_type.empty()) return "ext4";
  if (fs_type == "ext4" || fs_type == "xfs" || fs_type == "btrfs") return fs_type;
  return InvalidArgument("the filesystem \"{}\" is not supported: use ext4, xfs or btrfs", fs_type);
}

uint64_t MinimumBytes(const std::string& type) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  if (type == "xfs") return 300 * kMiB;
  if (type == "btrfs") return 109 * kMiB;
  return 8 * kMiB;  // below it mkfs.ext4 leaves out the journal, and only warns
}

std::vector<std::string> RequiredMountOptions(const std::string& type) {
  if (type == "xfs") return {"nouuid"};
  return {};
}

std::vector<std::string> NoReplayMountOptions(const std::string& type) {
  if (type == "xfs") return {"norecovery"};
  if (type == "btrfs") return {"rescue=nologreplay"};
  return {"noload"};
}

}  // namespace cryptvol::filesystem
