// mkfs and fsck, as subprocesses of e2fsprogs, xfsprogs and btrfs-progs.
#ifndef CRYPTVOL_FILESYSTEM_TOOLS_H_
#define CRYPTVOL_FILESYSTEM_TOOLS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/deadline.h"
#include "base/subprocess.h"
#include "filesystem/report.h"

namespace cryptvol::filesystem {

// ext4, xfs or btrfs; the empty string means ext4. INVALID_ARGUMENT for others, naming the three.
absl::StatusOr<std::string> NormalizeType(const std::string& fs_type);

// The smallest device, in bytes, on which mkfs of this type works with its defaults.
uint64_t MinimumBytes(const std::string& type);

// FAILED_PRECONDITION when mkfs.TYPE is not installed: names the Debian package.
absl::Status CheckInstalled(const std::string& type);

struct MakeRequest {
  std::string type;
  std::string device;
  std::string uuid;  // that the filesystem gets
  std::vector<std::string> user_options =
      {};  // the StorageClass's mkfsOptions, after ours, so that they win
  std::vector<std::pair<int, int>> inherit = {};  // see Command::inherit
};

// Refuses user options that name a device, a UUID or a file, or that make mkfs ask, destroy nothing
// or run on something else (-n, -U, -S, -d, -p, -N and so on, per type): INVALID_ARGUMENT naming
// the option. Checked at CreateVolume already, where `type` is known.
absl::Status CheckMakeOptions(const std::string& type,
                              const std::vector<std::string>& user_options);

// OUT_OF_RANGE when a device of that size is too small for it.
absl::Status CheckSize(const std::string& type, const std::string& device, uint64_t device_bytes);

// Makes the filesystem with 4096-byte blocks. The caller has made sure that nothing is lost by it, and
// that it is large enough; afterwards it flushes the device, and looks at it with CheckMade: this does
// not touch the device, only mkfs does, which can be killed.
//  FAILED_PRECONDITION  as CheckInstalled
//  INVALID_ARGUMENT     mkfs refused the user's options: with what it said
//  DATA_LOSS            the device fails
absl::Status Make(const MakeRequest& request, Deadline deadline);

// INVALID_ARGUMENT when the user's options gave another type than was asked for ("-O none" does),
// which no later stage would accept.
absl::Status CheckMade(const MakeRequest& request, const FilesystemReport& report);

enum class CheckOutcome {
  kClean,      // or repaired completely
  kNotNeeded,  // the type repairs itself at mount (xfs, btrfs)
};

// Repairs what can be repaired without a decision: `e2fsck -p` for ext4, nothing for the others.
// Never -y. DATA_LOSS when a person has to decide: the message gives the command to run by hand.
// FAILED_PRECONDITION when the device is in use. At the deadline e2fsck is killed in the middle of
// a repair: give it all the time there is.
absl::StatusOr<CheckOutcome> Check(const std::string& type, const std::string& device,
                                   const std::vector<std::pair<int, int>>& inherit,
                                   Deadline deadline);

// Whether the filesystem is whole, read-only and without replaying a log: `e2fsck -fn`, `xfs_repair
// -n`, `btrfs check --readonly`. Used on a filesystem that mkfs may not have finished. A log that
// waits to be replayed makes an xfs, and may make an ext4, look damaged.
absl::StatusOr<bool> IsWhole(const std::string& type, const std::string& device,
                             const std::vector<std::pair<int, int>>& inherit, Deadline deadline);

// Mount options that this type needs always (xfs: nouuid, since copies carry the same UUID).
std::vector<std::string> RequiredMountOptions(const std::string& type);

// For a read-only mount that must not write: one that leaves the journal (or log) as it is, which
// otherwise is replayed even then.
std::vector<std::string> NoReplayMountOptions(const std::string& type);

}  // namespace cryptvol::filesystem

#endif  // CRYPTVOL_FILESYSTEM_TOOLS_H_
