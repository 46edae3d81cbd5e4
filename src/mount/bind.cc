#include <fcntl.h>
#include <sys/mount.h>

#include <cerrno>

#include "base/status.h"
#include "base/unique_fd.h"
#include "mount/flags.h"
#include "mount/mounter.h"

namespace cryptvol::mount {
namespace {

absl::Status BindFailed(const BindRequest& request, int error) {
  const std::string context = fmt::format("bind {} to {}", request.source, request.target);
  if (error == ENOSYS) return FailedPrecondition("{}: this needs Linux 5.12 or later", context);
  if (error == EINVAL) {
    return FailedPrecondition(
        "{}: the kernel refuses (EINVAL); one of them is a directory and the other is not, or the "
        "source is in a mount that may not be bound",
        context);
  }
  return ErrnoStatus(error, context);
}

}  // namespace

// The mount gets its flags before it is attached. A remount of an attached one would leave a moment
// in which it is writable, and would never reach the copies of it that propagation has made in the
// meantime: kubelet's own, when the driver runs in a container.
absl::Status BindMount(const BindRequest& request) {
  CV_ASSIGN_OR_RETURN(const MountAttributes attributes,
                      ParseMountAttributes(request.options, request.read_only));
  const UniqueFd mount(
      ::open_tree(AT_FDCWD, request.source.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!mount.valid()) return BindFailed(request, errno);

  mount_attr attr = {
      .attr_set = attributes.set, .attr_clr = attributes.clear, .propagation = 0, .userns_fd = 0};
  if (::mount_setattr(mount.get(), "", AT_EMPTY_PATH, &attr, sizeof(attr)) != 0) {
    return BindFailed(request, errno);
  }
  if (::move_mount(mount.get(), "", AT_FDCWD, request.target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) !=
      0) {
    return BindFailed(request, errno);
  }
  return absl::OkStatus();
}

}  // namespace cryptvol::mount
