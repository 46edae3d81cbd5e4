// Where the bytes of a command go to: a file or standard output.
#ifndef CRYPTVOL_CRYPTSNAP_OUTPUT_H_
#define CRYPTVOL_CRYPTSNAP_OUTPUT_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/stream.h"
#include "base/unique_fd.h"
#include "cryptsnap/input.h"
#include "snapshot/new_file.h"

namespace cryptvol::cryptsnap {

// Nothing happens before the first byte: an error until then leaves no trace. A regular file gets
// its name, and takes the place of an older one, in Commit, durably: a loss of power leaves the old
// one or the new one. Without Commit nothing is left of it. Where the filesystem can, it has no name
// before, so that not even SIGKILL leaves anything. Other files (devices, pipes) are written to as
// they are.
class Output : public ByteSink {
 public:
  // Empty or "-": standard output. `mode` is that of a new file, before the umask.
  Output(std::string path, mode_t mode) : path_(std::move(path)), mode_(mode) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  absl::Status Write(std::span<const uint8_t> bytes) override;
  // After the last byte, once. Makes an empty file when there was none.
  absl::Status Commit();

  // A usage error when both are the same file.
  absl::Status CheckIsNot(const Input& input) const;

  // Then a line of progress would stand among the output.
  bool IsTerminal() const;
  bool is_standard_output() const { return path_.empty() || path_ == "-"; }

 private:
  absl::Status Open();
  absl::Status OpenNewFile();
  absl::Status WriteToFd(std::span<const uint8_t> bytes);
  bool is_open() const { return fd_.valid() || file_.has_value(); }
  // An error with the output's name and exit status.
  absl::Status OfFile(const absl::Status& status) const;

  const std::string path_;
  const mode_t mode_;
  UniqueFd fd_;                            // of what is there already, and not ours
  std::optional<snapshot::NewFile> file_;  // or ours
  std::string leaf_;                       // of `file_`, when it gets a name
};

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_OUTPUT_H_
