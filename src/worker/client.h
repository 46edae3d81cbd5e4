// The driver's end: starts worker processes, calls them with a deadline, and gives up those that
// hang.
#ifndef CRYPTVOL_WORKER_CLIENT_H_
#define CRYPTVOL_WORKER_CLIENT_H_

#include <atomic>
#include <memory>
#include <string>

#include "volume/device_worker.h"
#include "worker/process_pool.h"

namespace cryptvol::worker {

// Thread-safe; the workers it makes are not.
class ClientFactory : public volume::DeviceWorkerFactory {
 public:
  // `program` is the path of cryptvol-worker.
  explicit ClientFactory(std::string program);
  ~ClientFactory() override;

  std::unique_ptr<volume::DeviceWorker> New(std::shared_ptr<volume::OperationLock> lock) override;

  // Killed workers that have not ended yet: a device does not answer.
  int abandoned() const;

 private:
  std::shared_ptr<ProcessPool> pool_;
  std::shared_ptr<std::atomic<int>> abandoned_;
};

// cryptvol-worker beside the running program, which is where the build and the image put it.
absl::StatusOr<std::string> FindWorkerProgram();

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_CLIENT_H_
