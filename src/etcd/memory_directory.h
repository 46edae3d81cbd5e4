// A directory in memory, for plaintext that another program must have as files.
#ifndef CRYPTVOL_ETCD_MEMORY_DIRECTORY_H_
#define CRYPTVOL_ETCD_MEMORY_DIRECTORY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/subprocess.h"
#include "base/unique_fd.h"

namespace cryptvol::etcd {

// With the right to mount: a tmpfs that is mounted nowhere and cannot be swapped out. Nobody else
// finds it, and it is gone when the last process that has its descriptor is, however that ended.
// Without: a directory of mode 0700 in /dev/shm, if that is a tmpfs and there is no swap; a helper
// process removes it when this process ends, also by SIGKILL.
class MemoryDirectory {
 public:
  // Under this number a child gets the descriptor; kChildPath is the directory for it then.
  static constexpr int kChildFd = 3;
  static constexpr const char* kChildPath = "/proc/self/fd/3";

  // For at most `bytes`. RESOURCE_EXHAUSTED when there is not so much memory, FAILED_PRECONDITION
  // when files in memory could reach a disk here. `allow_private` is for tests.
  static absl::StatusOr<MemoryDirectory> Create(uint64_t bytes, bool allow_private = true);
  MemoryDirectory(MemoryDirectory&&) noexcept = default;
  MemoryDirectory& operator=(MemoryDirectory&&) = delete;
  // Removes it, with all that is in it; what a child still has open goes with the child.
  ~MemoryDirectory();

  int fd() const { return fd_.get(); }
  std::string path() const;  // of this process
  // Where others see it; empty: nowhere.
  const std::string& shared_path() const { return shared_path_; }

 private:
  MemoryDirectory() = default;
  static absl::StatusOr<MemoryDirectory> CreatePrivate(uint64_t bytes);
  static absl::StatusOr<MemoryDirectory> CreateShared(uint64_t bytes);
  absl::Status StartRemover();

  UniqueFd fd_;
  std::string shared_path_;
  UniqueFd alive_;  // the remover reads its end as the end of this process
  SpawnedProcess remover_;
};

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_MEMORY_DIRECTORY_H_
