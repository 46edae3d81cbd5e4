#include "base/unique_fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/status.h"

namespace cryptvol {

void UniqueFd::Reset(int fd) {
  // Linux releases the descriptor even when close() reports EINTR, so it is never repeated.
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(TEMP_FAILURE_RETRY(::open(path.c_str(), flags | O_CLOEXEC, mode)));
  if (!fd.valid()) return ErrnoStatus(errno, "open " + path);
  return fd;
}

absl::Status ReadFullyAt(int fd, std::span<uint8_t> out, uint64_t offset, const std::string& what) {
  while (!out.empty()) {
    ssize_t n = TEMP_FAILURE_RETRY(::pread(fd, out.data(), out.size(), static_cast<off_t>(offset)));
    if (n < 0) return ErrnoStatus(errno, fmt::format("read {} at byte {}", what, offset));
    if (n == 0) {
      return MakeStatus(absl::StatusCode::kOutOfRange, "read {}: it ends at byte {}", what, offset);
    }
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

absl::Status WriteFullyAt(int fd, std::span<const uint8_t> data, uint64_t offset,
                          const std::string& what) {
  while (!data.empty()) {
    ssize_t n =
        TEMP_FAILURE_RETRY(::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset)));
    if (n < 0) return ErrnoStatus(errno, fmt::format("write {} at byte {}", what, offset));
    if (n == 0) return Internal("write {} at byte {}: nothing was written", what, offset);
    data = data.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t limit) {
  CV_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
  std::string content;
  char buffer[4096];
  while (true) {
    ssize_t n = TEMP_FAILURE_RETRY(::read(fd.get(), buffer, sizeof(buffer)));
    if (n < 0) return ErrnoStatus(errno, "read " + path);
    if (n == 0) return content;
    content.append(buffer, static_cast<size_t>(n));
    if (content.size() > limit) {
      return MakeStatus(absl::StatusCode::kOutOfRange, "read {}: more than {} bytes", path, limit);
    }
  }
}

}  // namespace cryptvol
