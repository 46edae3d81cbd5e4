#include "worker/process_pool.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>

#include "base/status.h"
#include "worker/protocol.h"

namespace cryptvol::worker {

bool WaitForEnd(const SpawnedProcess& process, int milliseconds) {
  pollfd ended = {process.pidfd.get(), POLLIN, 0};
  if (TEMP_FAILURE_RETRY(::poll(&ended, 1, milliseconds)) != 1) return false;
  int ignored;
  ::waitpid(process.pid, &ignored, 0);
  return true;
}

ProcessPool::~ProcessPool() {
  if (!spare_.has_value()) return;
  // It has no device: nothing can keep it.
  ::kill(spare_->process.pid, SIGKILL);
  WaitForEnd(spare_->process, -1);
}

absl::StatusOr<WorkerProcess> ProcessPool::Start() const {
  std::array<int, 2> pair;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return ErrnoStatus(errno, "make a socket for a worker");
  }
  WorkerProcess worker;
  worker.socket.Reset(pair[0]);
  const UniqueFd theirs(pair[1]);
  CV_ASSIGN_OR_RETURN(worker.process, Spawn(program_, {}, {{theirs.get(), kSocketFd}}));
  return worker;
}

absl::StatusOr<WorkerProcess> ProcessPool::Take() {
  {
    const std::lock_guard lock(mutex_);
    std::optional<WorkerProcess> spare = std::exchange(spare_, std::nullopt);
    if (spare.has_value() && !WaitForEnd(spare->process, 0)) return *std::move(spare);
  }
  return Start();
}

void ProcessPool::Refill() {
  const std::lock_guard lock(mutex_);
  if (spare_.has_value()) return;
  if (auto worker = Start(); worker.ok()) spare_ = *std::move(worker);
}

}  // namespace cryptvol::worker
