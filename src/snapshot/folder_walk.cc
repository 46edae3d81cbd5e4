#include "snapshot/folder_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/c_handle.h"
#include "base/status.h"
#include "snapshot/file_name.h"

namespace cryptvol::snapshot {
namespace {

constexpr mode_t kFolderMode = 0700;
constexpr std::string_view kChainFolder = "chain";
constexpr std::string_view kChainPath = "chain/";

// Ours: chain, and in it the folders named by writers.
bool IsWalked(const WalkedFile& file) {
  return file.path == kChainFolder ||
         (file.path.starts_with(kChainPath) && IsWriterId(file.path.substr(kChainPath.size())));
}

class Walk {
 public:
  Walk(std::string shown, const std::function<absl::Status(const WalkedFile&)>& visit)
      : shown_(std::move(shown)), visit_(visit) {}

  absl::Status Folder(int directory, const std::string& prefix) {
    Handle<DIR, CloseDirectory> handle(OpenAgain(directory));
    if (handle == nullptr) return ErrnoStatus(errno, "list " + shown_);
    while (true) {
      errno = 0;
      const ::dirent* entry = ::readdir(handle.get());
      if (entry == nullptr) break;
      const std::string leaf = entry->d_name;
      if (leaf != "." && leaf != "..")
        CV_RETURN_IF_ERROR(Visit(::dirfd(handle.get()), prefix, leaf));
    }
    return errno == 0 ? absl::OkStatus() : ErrnoStatus(errno, "list " + shown_);
  }

 private:
  static void CloseDirectory(DIR* directory) { ::closedir(directory); }

  // With an offset of its own.
  static DIR* OpenAgain(int directory) {
    UniqueFd fd(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR* opened = fd.valid() ? ::fdopendir(fd.get()) : nullptr;
    if (opened != nullptr) fd.Release();
    return opened;
  }

  absl::Status Visit(int folder, const std::string& prefix, const std::string& leaf) {
    struct ::stat status = {};
    if (::fstatat(folder, leaf.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      // Removed since it was listed.
      return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, "look at a file in " + shown_);
    }
    const WalkedFile file = {
        .path = prefix + leaf,
        .leaf = leaf,
        .folder = folder,
        .regular = S_ISREG(status.st_mode),
        .hidden = leaf.starts_with('.'),
        .size = static_cast<uint64_t>(status.st_size),
        .modified = Timestamp(std::chrono::seconds(status.st_mtim.tv_sec)),
    };
    if (!S_ISDIR(status.st_mode) || !IsWalked(file)) return visit_(file);
    CV_ASSIGN_OR_RETURN(const UniqueFd inner, OpenFolder(folder, leaf, false, shown_));
    return Folder(inner.get(), file.path + "/");
  }

  const std::string shown_;
  const std::function<absl::Status(const WalkedFile&)>& visit_;
};

}  // namespace

absl::Status WalkFolder(int directory, const std::string& shown,
                        const std::function<absl::Status(const WalkedFile&)>& visit) {
  return Walk(shown, visit).Folder(directory, "");
}

absl::StatusOr<UniqueFd> OpenFolder(int parent, const std::string& leaf, bool create,
                                    const std::string& shown) {
  if (create) {
    if (::mkdirat(parent, leaf.c_str(), kFolderMode) == 0) {
      if (::fsync(parent) != 0) return ErrnoStatus(errno, "flush the folder around " + shown);
    } else if (errno != EEXIST) {
      return ErrnoStatus(errno, "create " + shown);
    }
  }
  UniqueFd fd(::openat(parent, leaf.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "open " + shown);
  return fd;
}

}  // namespace cryptvol::snapshot
