#include "mount/mounter.h"

#include <fcntl.h>
#include <libmount/libmount.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/c_handle.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "mount/mount_point.h"
#include "mount/mount_table.h"

namespace cryptvol::mount {
namespace {

using Context = Handle<libmnt_context, mnt_free_context>;

absl::StatusOr<Context> MakeContext(const MountRequest& request) {
  Context context(mnt_new_context());
  const std::string options = fmt::format("{}", fmt::join(request.options, ","));
  if (context == nullptr || mnt_context_disable_helpers(context.get(), true) != 0 ||
      mnt_context_disable_mtab(context.get(), true) != 0 ||
      mnt_context_disable_canonicalize(context.get(), true) != 0 ||
      mnt_context_disable_swapmatch(context.get(), true) != 0 ||
      // libmount would answer a write-protected device with a read-only mount, and success.
      mnt_context_enable_rwonly_mount(context.get(), !request.read_only) != 0 ||
      mnt_context_set_optsmode(context.get(), MNT_OMODE_NOTAB) != 0 ||
      mnt_context_set_source(context.get(), request.source.c_str()) != 0 ||
      mnt_context_set_target(context.get(), request.target.c_str()) != 0 ||
      mnt_context_set_fstype(context.get(), request.type.c_str()) != 0 ||
      mnt_context_set_options(context.get(), options.c_str()) != 0 ||
      (request.read_only && mnt_context_append_options(context.get(), "ro") != 0)) {
    return InvalidArgument("mount {} on {}: libmount does not take the options \"{}\"",
                           request.source, request.target, options);
  }
  return context;
}

absl::Status WriteProtected(const MountRequest& request, const std::string& context) {
  if (!request.read_only) {
    return FailedPrecondition("{}: the device is read-only; mount the volume read-only", context);
  }
  return FailedPrecondition(
      "{}: the filesystem needs to replay its journal, and the device is read-only; stage the "
      "volume once read-write, or add the mount flag {} to read it as it is",
      context,
      request.type == "xfs"     ? "norecovery"
      : request.type == "btrfs" ? "rescue=nologreplay"
                                : "noload");
}

bool IsWriteProtected(const std::string& device) {
  const UniqueFd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  int read_only = 0;
  return fd.valid() && ::ioctl(fd.get(), BLKROGET, &read_only) == 0 && read_only != 0;
}

absl::Status RefusedAsInvalid(const MountRequest& request, const std::string& context) {
  const bool by_options = std::any_of(
      request.options.begin(), request.options.end(),
      [](const std::string& option) { return !IsPerMountOption(option) && option != "nouuid"; });
  if (by_options) {
    return InvalidArgument(
        "{}: the kernel refused one of the options \"{}\", or the superblock (EINVAL); its reason "
        "is in the kernel's log",
        context, fmt::join(request.options, ","));
  }
  return MakeStatus(
      absl::StatusCode::kDataLoss,
      "{}: the kernel refused the superblock (EINVAL): damaged, or of a newer kernel; its reason "
      "is in the kernel's log",
      context);
}

// What mount(2) means by an error depends on the filesystem; the reason itself is in the kernel's
// log only.
absl::Status MountFailed(const MountRequest& request, int error) {
  const std::string context = fmt::format("mount the {} filesystem on {} at {}", request.type,
                                          request.source, request.target);
  switch (error) {
    case EROFS:
    case EACCES:
      return WriteProtected(request, context);
    case EIO:
      // btrfs says this, and not EROFS, of a log that it cannot replay.
      if (request.type == "btrfs" && request.read_only && IsWriteProtected(request.source)) {
        return WriteProtected(request, context);
      }
      [[fallthrough]];
    case EUCLEAN:
    case EBADMSG:
      return MakeStatus(absl::StatusCode::kDataLoss,
                        "{}: the kernel found it damaged ({}); its reason is in the kernel's log",
                        context, ErrnoName(error));
    case EINVAL:
      return RefusedAsInvalid(request, context);
    case ENODEV:
      return FailedPrecondition("{}: this node's kernel has no {}; load its module", context,
                                request.type);
    case EBUSY:
      return FailedPrecondition(
          "{}: something else uses the device, or it is mounted with other flags (EBUSY)", context);
    case EEXIST:
      return FailedPrecondition(
          "{}: a filesystem with the same UUID is mounted, and this is a copy of it (EEXIST)",
          context);
    default:
      return ErrnoStatus(error, context);
  }
}

// libmount would attach a regular file to a loop device.
absl::Status CheckIsDevice(const std::string& source) {
  struct stat info;
  if (::stat(source.c_str(), &info) != 0) return ErrnoStatus(errno, "mount " + source);
  if (S_ISBLK(info.st_mode)) return absl::OkStatus();
  return FailedPrecondition("mount {}: it is not a block device", source);
}

// btrfs remembers, by device number, a filesystem whose device was busy when it was to be mounted.
// Numbers of loop devices and mappings are used again, and such a stranger makes the mount of a
// copy beside its source fail (EINVAL).
void ForgetStaleDevice(const std::string& device) {
  const UniqueFd control(::open("/dev/btrfs-control", O_RDWR | O_CLOEXEC));
  btrfs_ioctl_vol_args args = {};
  if (!control.valid() || device.size() >= sizeof(args.name)) return;
  device.copy(args.name, device.size());
  ::ioctl(control.get(), BTRFS_IOC_FORGET_DEV, &args);  // fails where nothing is remembered
}

absl::Status CheckNotMounted(const std::string& target) {
  CV_ASSIGN_OR_RETURN(const std::vector<MountEntry> table, ReadMountTable());
  if (FindMount(table, ResolveMountPoint(target)) == nullptr) return absl::OkStatus();
  return FailedPrecondition(
      "unmount {}: the kernel refuses (EINVAL), though it is mounted; the mount was made in "
      "another mount namespace",
      target);
}

}  // namespace

absl::Status MountFilesystem(const MountRequest& request) {
  CV_RETURN_IF_ERROR(CheckIsDevice(request.source));
  if (request.type == "btrfs") ForgetStaleDevice(request.source);
  CV_ASSIGN_OR_RETURN(const Context context, MakeContext(request));
  const int result = mnt_context_mount(context.get());
  if (result == 0 && mnt_context_get_status(context.get()) == 1) return absl::OkStatus();
  if (mnt_context_syscall_called(context.get()) == 1) {
    return MountFailed(request, mnt_context_get_syscall_errno(context.get()));
  }
  return MountFailed(request, result < 0 ? -result : EINVAL);
}

absl::Status Unmount(const std::string& target) {
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW) == 0) return absl::OkStatus();
  const int error = errno;
  if (error == ENOENT || error == ENOTDIR) return absl::OkStatus();
  if (error == EINVAL) return CheckNotMounted(target);
  if (error == EBUSY) {
    return FailedPrecondition("unmount {}: it is busy (EBUSY); end the processes that use it",
                              target);
  }
  return ErrnoStatus(error, "unmount " + target);
}

}  // namespace cryptvol::mount
