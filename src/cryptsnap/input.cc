#include "cryptsnap/input.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/status.h"
#include "cryptsnap/exit_status.h"

namespace cryptvol::cryptsnap {
namespace {

// Below, threads that read for themselves gain nothing. It also leaves out what says nothing true of
// its size: files of /proc have none, those of /sys a page.
constexpr uint64_t kWorthPieces = 1 << 20;

// A failing disk is not a wrong key, wherever it shows.
absl::Status ReadError(absl::Status status) {
  return WithExitStatus(std::move(status), ExitStatus::kOther);
}

}  // namespace

void EnlargePipe(int fd) {
  // What a user may have without privileges (/proc/sys/fs/pipe-max-size), and two of our batches: while one is
  // read or written, the program at the other end works on the other. Beyond the limit the pipe stays as it is.
  constexpr int kPipeBytes = 1 << 20;
  struct stat info;
  if (::fstat(fd, &info) == 0 && S_ISFIFO(info.st_mode)) ::fcntl(fd, F_SETPIPE_SZ, kPipeBytes);
}

absl::StatusOr<std::unique_ptr<Input>> Input::Open(const std::string& path) {
  if (path.empty() || path == "-") {
    UniqueFd fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!fd.valid()) return ErrnoStatus(errno, "read standard input");
    return std::make_unique<Input>(std::move(fd), "standard input");
  }
  CV_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY | O_NOCTTY));
  return std::make_unique<Input>(std::move(fd), path);
}

Input::Input(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {
  EnlargePipe(fd_.get());
  if (::fstat(fd_.get(), &stat_) != 0 || !S_ISREG(stat_.st_mode)) return;
  const off_t at = ::lseek(fd_.get(), 0, SEEK_CUR);
  if (at >= 0 && at <= stat_.st_size) size_ = static_cast<uint64_t>(stat_.st_size - at);
  ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  if (size_ && *size_ >= kWorthPieces) pieces_.emplace(fd_.get(), name_);
}

absl::StatusOr<size_t> Input::Read(std::span<uint8_t> buffer) {
  const ssize_t got = TEMP_FAILURE_RETRY(::read(fd_.get(), buffer.data(), buffer.size()));
  if (got >= 0) return static_cast<size_t>(got);
  return ReadError(ErrnoStatus(errno, "read " + name_));
}

absl::StatusOr<Piece> Input::Take(size_t most) {
  absl::StatusOr<Piece> piece = pieces_->Take(most);
  if (!piece.ok()) return ReadError(piece.status());
  return piece;
}

absl::Status Input::Read(const Piece& piece, std::span<uint8_t> buffer) {
  return ReadError(pieces_->Read(piece, buffer));
}

bool Input::IsSameFile(const struct stat& other) const {
  return S_ISREG(other.st_mode) && stat_.st_dev == other.st_dev && stat_.st_ino == other.st_ino;
}

}  // namespace cryptvol::cryptsnap
