// Where the bytes of a command come from: a file or standard input.
#ifndef CRYPTVOL_CRYPTSNAP_INPUT_H_
#define CRYPTVOL_CRYPTSNAP_INPUT_H_

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/file_pieces.h"
#include "base/stream.h"
#include "base/unique_fd.h"

namespace cryptvol::cryptsnap {

// Makes a pipe hold 1 MiB, so that both ends sleep less often. Anything else is left alone.
void EnlargePipe(int fd);

class Input : public ByteSource, private PieceSource {
 public:
  // Empty or "-": standard input.
  static absl::StatusOr<std::unique_ptr<Input>> Open(const std::string& path);
  Input(UniqueFd fd, std::string name);

  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override;
  // Of a regular file that is worth it.
  PieceSource* pieces() override { return pieces_ ? this : nullptr; }

  const std::string& name() const { return name_; }
  int fd() const { return fd_.get(); }
  // Of a regular file: from where it is read to its end, in bytes, when it was opened.
  std::optional<uint64_t> size() const { return size_; }
  bool IsSameFile(const struct stat& other) const;

 private:
  absl::StatusOr<Piece> Take(size_t most) override;
  absl::Status Read(const Piece& piece, std::span<uint8_t> buffer) override;

  UniqueFd fd_;
  std::string name_;  // for messages
  struct stat stat_ = {};
  std::optional<uint64_t> size_;
  std::optional<FilePieces> pieces_;
};

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_INPUT_H_
