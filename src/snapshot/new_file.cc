#include "snapshot/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/random.h"
#include "base/sha256.h"
#include "base/status.h"

namespace cryptvol::snapshot {
namespace {

absl::StatusOr<std::string> HiddenName() {
  std::array<uint8_t, 8> random;
  CV_RETURN_IF_ERROR(FillRandom(random));
  return std::string(kHiddenPrefix) + Hex(random);
}

std::string LinkOf(const UniqueFd& fd) { return fmt::format("/proc/self/fd/{}", fd.get()); }

// Without /proc a file could never get a name.
bool CanBeNamed(const UniqueFd& fd) { return ::access(LinkOf(fd).c_str(), F_OK) == 0; }

bool HasNoTmpfile(int error) {
  return error == EOPNOTSUPP || error == EISDIR || error == EINVAL || error == ENOENT;
}

}  // namespace

NewFile::NewFile(UniqueFd directory, UniqueFd fd, std::string hidden, std::string shown)
    : directory_(std::move(directory)),
      fd_(std::move(fd)),
      hidden_(std::move(hidden)),
      shown_(std::move(shown)) {}

NewFile::NewFile(NewFile&& other) noexcept
    : directory_(std::move(other.directory_)),
      fd_(std::move(other.fd_)),
      hidden_(std::exchange(other.hidden_, "")),
      shown_(std::move(other.shown_)),
      size_(other.size_) {}

NewFile::~NewFile() {
  if (hidden_.empty()) return;
  // Closed first: NFS gives what is removed while it is open another name, and takes that away some time later.
  fd_.Reset();
  ::unlinkat(directory_.get(), hidden_.c_str(), 0);
}

absl::StatusOr<NewFile> NewFile::Create(int directory, std::string shown, mode_t mode) {
  UniqueFd own(::fcntl(directory, F_DUPFD_CLOEXEC, 0));
  if (!own.valid()) return ErrnoStatus(errno, "open " + shown);
  UniqueFd fd(::openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode));
  if (fd.valid() && CanBeNamed(fd)) {
    return NewFile(std::move(own), std::move(fd), "", std::move(shown));
  }
  if (!fd.valid() && !HasNoTmpfile(errno)) return ErrnoStatus(errno, "create a file in " + shown);
  CV_ASSIGN_OR_RETURN(std::string hidden, HiddenName());
  fd.Reset(::openat(directory, hidden.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode));
  if (!fd.valid()) return ErrnoStatus(errno, "create a file in " + shown);
  return NewFile(std::move(own), std::move(fd), std::move(hidden), std::move(shown));
}

absl::Status NewFile::Write(std::span<const uint8_t> bytes) {
  CV_RETURN_IF_ERROR(WriteFullyAt(fd_.get(), bytes, size_, "a new file in " + shown_));
  size_ += bytes.size();
  return absl::OkStatus();
}

absl::Status NewFile::Sync() {
  if (::fsync(fd_.get()) != 0) return ErrnoStatus(errno, "flush a new file in " + shown_);
  return absl::OkStatus();
}

absl::Status NewFile::SyncDirectory() {
  if (::fsync(directory_.get()) == 0) return absl::OkStatus();
  // EINVAL: this filesystem flushes no directories, and keeps them by other means.
  return errno == EINVAL ? absl::OkStatus() : ErrnoStatus(errno, "flush the directory " + shown_);
}

absl::Status NewFile::LinkAs(const std::string& leaf) {
  // Linking the descriptor itself wants a capability; its name in /proc does not.
  const std::string path = LinkOf(fd_);
  const int linked =
      hidden_.empty()
          ? ::linkat(AT_FDCWD, path.c_str(), directory_.get(), leaf.c_str(), AT_SYMLINK_FOLLOW)
          : ::linkat(directory_.get(), hidden_.c_str(), directory_.get(), leaf.c_str(), 0);
  return linked == 0 ? absl::OkStatus() : ErrnoStatus(errno, "create " + PathOf(leaf));
}

absl::Status NewFile::Publish(const std::string& leaf) {
  CV_RETURN_IF_ERROR(Sync());
  if (hidden_.empty()) {
    CV_RETURN_IF_ERROR(LinkAs(leaf));
    return SyncDirectory();
  }
  // Filesystems without O_TMPFILE may have no links either.
  if (::renameat2(directory_.get(), hidden_.c_str(), directory_.get(), leaf.c_str(),
                  RENAME_NOREPLACE) == 0) {
    hidden_.clear();
    return SyncDirectory();
  }
  if (errno != EINVAL) return ErrnoStatus(errno, "create " + PathOf(leaf));
  CV_RETURN_IF_ERROR(LinkAs(leaf));
  return SyncDirectory();
}

absl::Status NewFile::Replace(const std::string& leaf) {
  CV_RETURN_IF_ERROR(Sync());
  if (hidden_.empty()) {
    // Where nothing is in its place, it needs no hidden name, which SIGKILL could leave.
    const absl::Status linked = LinkAs(leaf);
    if (!absl::IsAlreadyExists(linked)) return linked.ok() ? SyncDirectory() : linked;
    CV_ASSIGN_OR_RETURN(const std::string hidden, HiddenName());
    CV_RETURN_IF_ERROR(LinkAs(hidden));
    hidden_ = hidden;
  }
  if (::renameat(directory_.get(), hidden_.c_str(), directory_.get(), leaf.c_str()) != 0) {
    return ErrnoStatus(errno, "replace " + PathOf(leaf));
  }
  hidden_.clear();
  return SyncDirectory();
}

}  // namespace cryptvol::snapshot
