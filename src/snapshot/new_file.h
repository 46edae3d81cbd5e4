// A file that has no name until it is whole.
#ifndef CRYPTVOL_SNAPSHOT_NEW_FILE_H_
#define CRYPTVOL_SNAPSHOT_NEW_FILE_H_

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/stream.h"
#include "base/unique_fd.h"

namespace cryptvol::snapshot {

// Hidden names that a crash may leave begin with it.
inline constexpr std::string_view kHiddenPrefix = ".cryptsnap-";

inline constexpr mode_t kPrivateMode = 0600;

// Without a name where the filesystem can do that (O_TMPFILE), else under a hidden one, which the
// destructor removes.
class NewFile : public ByteSink {
 public:
  // `directory` is open for reading; `shown` is its path for messages; `mode` is that before the
  // umask.
  static absl::StatusOr<NewFile> Create(int directory, std::string shown,
                                        mode_t mode = kPrivateMode);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile() override;

  // Appends.
  absl::Status Write(std::span<const uint8_t> bytes) override;
  int fd() const { return fd_.get(); }
  uint64_t size() const { return size_; }
  // After the file was written by other means.
  void set_size(uint64_t size) { size_ = size; }

  // Durable, under this name. ALREADY_EXISTS, and it can be tried with another.
  absl::Status Publish(const std::string& leaf);
  // The same, in the place of what may be there.
  absl::Status Replace(const std::string& leaf);

 private:
  NewFile(UniqueFd directory, UniqueFd fd, std::string hidden, std::string shown);
  std::string PathOf(const std::string& leaf) const { return shown_ + "/" + leaf; }
  absl::Status Sync();
  absl::Status SyncDirectory();
  absl::Status LinkAs(const std::string& leaf);

  UniqueFd directory_;
  UniqueFd fd_;
  std::string hidden_;  // its name; empty: none
  std::string shown_;
  uint64_t size_ = 0;
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_NEW_FILE_H_
