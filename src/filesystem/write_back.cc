#include "filesystem/write_back.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::filesystem {
namespace {

// EXT4_IOC_SHUTDOWN and EXT4_GOING_FLAGS_LOGFLUSH; Debian 12's headers have neither.
constexpr unsigned long kShutDown = _IOR('X', 125, uint32_t);
constexpr uint32_t kWriteJournalFirst = 1;

constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

// How many errors ext4 has met since its last check; it keeps count in its superblock.
uint64_t ErrorCount(dev_t device) {
  namespace fs = std::filesystem;
  const fs::path link = fmt::format("/sys/dev/block/{}:{}", major(device), minor(device));
  std::error_code error;
  const fs::path name = fs::canonical(link, error).filename();
  uint64_t count = 0;
  if (!error) std::ifstream(fs::path("/sys/fs/ext4") / name / "errors_count") >> count;
  return count;
}

// What is shut down while somebody uses it is lost to them. The mark of MNT_EXPIRE is taken back by who opens
// the root: a second call that finds it would unmount.
absl::Status CheckNotBusy(const std::string& mount_point) {
  CV_RETURN_IF_ERROR(OpenFile(mount_point, kDirectory).status());
  if (::umount2(mount_point.c_str(), MNT_EXPIRE | UMOUNT_NOFOLLOW) == 0 || errno == EAGAIN) {
    return absl::OkStatus();
  }
  if (errno != EBUSY) return ErrnoStatus(errno, "ask whether " + mount_point + " is in use");
  return FailedPrecondition("unmount {}: it is busy (EBUSY); end the processes that use it",
                            mount_point);
}

// Whoever opens a device is told of writes that it refused before, until somebody was told.
bool AllReaches(int mount_point, int device) {
  const bool filesystem = ::syncfs(mount_point) == 0;
  const bool metadata = ::fsync(device) == 0;  // of a device that could not be opened: no
  return filesystem && metadata;
}

}  // namespace

absl::StatusOr<bool> WriteBack(const std::string& mount_point, const std::string& device) {
  struct statfs type;
  if (::statfs(mount_point.c_str(), &type) != 0) {
    return ErrnoStatus(errno, "look at " + mount_point);
  }
  const bool ext4 = type.f_type == EXT4_SUPER_MAGIC;
  // Before the device is asked: it tells of a failure once.
  if (ext4) CV_RETURN_IF_ERROR(CheckNotBusy(mount_point));
  CV_ASSIGN_OR_RETURN(const UniqueFd mounted, OpenFile(mount_point, kDirectory));
  const UniqueFd disk(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat inside;
  struct stat node;
  if (::fstat(mounted.get(), &inside) != 0) return ErrnoStatus(errno, "look at " + mount_point);
  if (ext4 && ::fstat(disk.get(), &node) == 0 && inside.st_dev != node.st_rdev) {
    return Internal("{} is not mounted at {}", device, mount_point);
  }
  const bool all = AllReaches(mounted.get(), disk.get());
  if (!ext4) return all;
  if (all && ErrorCount(inside.st_dev) == 0) return true;
  if (::ioctl(mounted.get(), kShutDown, &kWriteJournalFirst) != 0) {
    return ErrnoStatus(errno, "keep the journal of " + mount_point);
  }
  return false;
}

}  // namespace cryptvol::filesystem
