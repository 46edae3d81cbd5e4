#include "snapshot/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

#include "base/deadline.h"
#include "base/status.h"

namespace cryptvol::snapshot {
namespace {

constexpr std::chrono::seconds kPatience(30);
constexpr std::chrono::milliseconds kPause(20);

}  // namespace

absl::StatusOr<UniqueFd> LockFolderOf(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  CV_ASSIGN_OR_RETURN(UniqueFd fd,
                      OpenFile(folder.empty() ? "." : folder.string(), O_RDONLY | O_DIRECTORY));
  const Deadline deadline = Deadline::After(kPatience);
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EBADF) break;  // NFS
    if (errno != EINTR && errno != EWOULDBLOCK) {
      return ErrnoStatus(errno, "lock the folder of " + path);
    }
    if (deadline.expired()) {
      return MakeStatus(absl::StatusCode::kUnavailable,
                        "lock the folder of {}: another process has held it for {} s; find it with "
                        "fuser, or keep that file in a folder of its own",
                        path, kPatience.count());
    }
    std::this_thread::sleep_for(kPause);
  }
  return fd;
}

}  // namespace cryptvol::snapshot
