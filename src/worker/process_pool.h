// Worker processes, one of them started ahead of time.
//
// Starting one costs more than most of what it then does: loading libcryptsetup and OpenSSL and
// binding their symbols (bench/run stage shows it). So one spare waits, loaded and without a
// volume, a key or a lock.
#ifndef CRYPTVOL_WORKER_PROCESS_POOL_H_
#define CRYPTVOL_WORKER_PROCESS_POOL_H_

#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/subprocess.h"
#include "base/unique_fd.h"

namespace cryptvol::worker {

struct WorkerProcess {
  SpawnedProcess process;
  UniqueFd socket;  // ours; the worker ends when it is closed
};

// Thread-safe. A worker serves one operation and is not given back.
class ProcessPool {
 public:
  explicit ProcessPool(std::string program) : program_(std::move(program)) {}
  ~ProcessPool();
  ProcessPool(const ProcessPool&) = delete;
  ProcessPool& operator=(const ProcessPool&) = delete;

  // The spare, if there is one and it is alive, else a new one.
  absl::StatusOr<WorkerProcess> Take();

  // Starts a spare, unless there is one. Called when an operation has ended, so that it does not
  // compete with it. An error is left to the next Take.
  void Refill();

 private:
  absl::StatusOr<WorkerProcess> Start() const;

  const std::string program_;
  std::mutex mutex_;
  std::optional<WorkerProcess> spare_;
};

// True when the process ended within that time (-1: wait for ever); it is reaped then.
bool WaitForEnd(const SpawnedProcess& process, int milliseconds);

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_PROCESS_POOL_H_
