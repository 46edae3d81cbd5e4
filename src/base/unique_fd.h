// An owned file descriptor, and reads and writes that finish or say why not.
#ifndef CRYPTVOL_BASE_UNIQUE_FD_H_
#define CRYPTVOL_BASE_UNIQUE_FD_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// open(2) with O_CLOEXEC; the error names the path.
absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode = 0);

// Reads or writes exactly that many bytes at `offset`, over short counts and EINTR. Reading past
// the end is OUT_OF_RANGE. `what` names the file in errors.
absl::Status ReadFullyAt(int fd, std::span<uint8_t> out, uint64_t offset, const std::string& what);
absl::Status WriteFullyAt(int fd, std::span<const uint8_t> data, uint64_t offset,
                          const std::string& what);

// The whole of a small file (in /proc, /sys, or our own state), at most `limit` bytes: more is an
// error.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t limit = 1 << 20);

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_UNIQUE_FD_H_
