// One operation per volume at a time: among the threads of the driver, and among processes.
//
// The second part is a lock file per volume, held by flock(2). Such a lock belongs to the open
// file, not to the process: a child that inherits the descriptor keeps the volume locked when the
// driver is killed, and the next driver finds it so until the child has ended too.
#ifndef CRYPTVOL_CSI_VOLUME_LOCKS_H_
#define CRYPTVOL_CSI_VOLUME_LOCKS_H_

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "volume/device_worker.h"

namespace cryptvol::driver {

class VolumeLock;

// Thread-safe.
class VolumeLocks {
 public:
  // Keeps its files in `state_dir`/locks, which is made if need be. Files are never removed: a
  // process may hold, or be about to lock, the one that was unlinked while a newcomer locks another
  // of the same name. They are empty, and there is one per volume that this node has ever seen.
  static absl::StatusOr<VolumeLocks> Open(const std::string& state_dir);

  // ABORTED while another operation is at work on the volume: names it and since when, at once; or,
  // when it is another process's, the processes that hold the lock, after a second.
  absl::StatusOr<std::shared_ptr<VolumeLock>> TryLock(const std::string& volume_id,
                                                      const std::string& operation);

 private:
  friend class VolumeLock;

  struct Holder {
    std::string operation;
    std::chrono::system_clock::time_point since;
  };
  // Outlives this object in the locks that were handed out.
  struct Holders {
    std::mutex mutex;
    std::map<std::string, Holder> by_volume;  // guarded by mutex
  };

  explicit VolumeLocks(std::string directory);
  absl::Status Register(const std::string& volume_id, const std::string& operation);

  std::string directory_;
  std::shared_ptr<Holders> holders_;
};

// Held until it is destroyed and every process that inherited fd() has closed it. Shared, so that a
// worker that had to be abandoned can keep it.
class VolumeLock : public volume::OperationLock {
 public:
  VolumeLock(const VolumeLock&) = delete;
  VolumeLock& operator=(const VolumeLock&) = delete;
  ~VolumeLock() override;

  // Of the lock file, to hand to children (Command::inherit); close-on-exec in this process.
  int fd() const override { return file_.get(); }

 private:
  friend class VolumeLocks;
  VolumeLock(std::string volume_id, std::shared_ptr<VolumeLocks::Holders> holders)
      : volume_id_(std::move(volume_id)), holders_(std::move(holders)) {}

  const std::string volume_id_;
  const std::shared_ptr<VolumeLocks::Holders> holders_;
  UniqueFd file_;
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_VOLUME_LOCKS_H_
