#include "mount/mount_point.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::mount {
namespace {

namespace fs = std::filesystem;

fs::path Normal(const std::string& path) {
  fs::path normal = fs::path(path).lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();  // a trailing slash
}

}  // namespace

UniqueFd OpenCached(const std::string& path) {
  open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_CACHED;
  return UniqueFd(
      static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof(how))));
}

std::optional<std::string> ResolveCached(const std::string& path) {
  const fs::path normal = Normal(path);
  const UniqueFd parent = OpenCached(normal.parent_path().string());
  if (!parent.valid()) return std::nullopt;
  std::error_code error;
  const fs::path link = fmt::format("/proc/self/fd/{}", parent.get());
  const fs::path resolved = fs::read_symlink(link, error);
  if (error || !resolved.is_absolute()) return std::nullopt;
  return (resolved / normal.filename()).string();
}

std::string ResolveMountPoint(const std::string& path) {
  const fs::path normal = Normal(path);
  std::error_code error;
  const fs::path parent = fs::weakly_canonical(normal.parent_path(), error);
  return error ? normal.string() : (parent / normal.filename()).string();
}

absl::Status MakeMountPoint(const std::string& path, bool directory) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (error) return ErrnoStatus(error.value(), "create the directory for " + path);
  if (directory) {
    if (::mkdir(path.c_str(), 0750) == 0) return absl::OkStatus();
  } else {
    UniqueFd fd(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0640));
    if (fd.valid()) return absl::OkStatus();
  }
  if (errno != EEXIST) return ErrnoStatus(errno, "create " + path);
  struct stat status;
  if (::lstat(path.c_str(), &status) != 0) return ErrnoStatus(errno, "look at " + path);
  if (directory ? S_ISDIR(status.st_mode) : S_ISREG(status.st_mode)) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kAlreadyExists, "{} exists and is not {}", path,
                    directory ? "a directory" : "a regular file");
}

absl::Status RemoveMountPoint(const std::string& path) {
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno == ENOTDIR && (::unlink(path.c_str()) == 0 || errno == ENOENT)) return absl::OkStatus();
  if (errno == ENOTEMPTY || errno == EEXIST) {
    return FailedPrecondition(
        "{} is not mounted any more, but there are files in it that are not the volume's; look at "
        "them and remove them by hand",
        path);
  }
  return ErrnoStatus(errno, "remove " + path);
}

}  // namespace cryptvol::mount
