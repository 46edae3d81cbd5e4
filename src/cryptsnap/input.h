// Where the bytes of a command come from: a file or standard input.
#ifndef CRYPTVOL_CRYPTSNAP_INPUT_H_
#define CRYPTVOL_CRYPTSNAP_INPUT_H_

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/stream.h"
#include "base/unique_fd.h"

namespace cryptvol::cryptsnap {

// Makes a pipe hold 1 MiB, so that both ends sleep less often. Anything else is left alone.
void EnlargePipe(int fd);

class Input : public ByteSource {
 public:
  // Empty or "-": standard input.
  static absl::StatusOr<std::unique_ptr<Input>> Open(const std::string& path);
  Input(UniqueFd fd, std::string name);

  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override;

  const std::string& name() const { return name_; }
  int fd() const { return fd_.get(); }
  // Of a regular file: from where it is read to its end, in bytes, when it was opened.
  std::optional<uint64_t> size() const { return size_; }
  bool IsSameFile(const struct stat& other) const;

 private:
  UniqueFd fd_;
  std::string name_;  // for messages
  struct stat stat_ = {};
  std::optional<uint64_t> size_;
};

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_INPUT_H_
