// cryptvol-worker: carries out what the driver may not do itself. Started by the driver, speaks on
// descriptor 3, ends when the driver closes it. Not meant to be run by hand. Without arguments it serves one
// operation on a volume (protocol.h), with them a backend (backend_protocol.h).

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "base/secret_bytes.h"
#include "base/unique_fd.h"
#include "worker/backend_protocol.h"
#include "worker/backend_service.h"
#include "worker/dispatcher.h"
#include "worker/protocol.h"
#include "worker/warm_up.h"

namespace cryptvol::worker {
namespace {

// The exit status, once the driver has closed its end. Keys are wiped and the lock is given back by
// then.
int Serve() {
  auto lock = ReceiveLock(kSocketFd);
  if (!lock.ok()) return 0;  // a spare that was never needed
  Dispatcher dispatcher;
  while (true) {
    // As good as no deadline: the driver closes the socket, or dies. Between two requests it may check a
    // large filesystem for days.
    auto request = ReceiveMessage(kSocketFd, Deadline::After(std::chrono::hours(24 * 366)));
    if (!request.ok()) return request.status().code() == absl::StatusCode::kUnavailable ? 0 : 1;
    const nlohmann::json reply = dispatcher.Handle(*request);
    const Deadline deadline = Deadline::After(std::chrono::minutes(1));
    if (!SendMessage(kSocketFd, reply, nullptr, deadline).ok()) return 1;
  }
}

// Libraries copy a key while they derive another from it. With this, what they copy is never swapped either.
// Memory counts as it is used. Without the privilege only our own copies are locked: with a limit, a
// derivation that takes more would fail.
void LockAllMemory() {
  const rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0) return;
  ::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

}  // namespace
}  // namespace cryptvol::worker

int main(int argc, char** argv) {
  using namespace cryptvol;
  // Nothing is printed. One that hangs must not keep open a pipe that somebody reads to its end, when
  // it is a command that started it.
  const UniqueFd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (!nowhere.valid() || ::dup2(nowhere.get(), STDOUT_FILENO) < 0) return 1;
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.size() == 3 && args[0] == worker::kServeBackend) {
    // As `ps` shows it: what is called worker comes and goes.
    ::prctl(PR_SET_NAME, worker::kStoreName);
    program_invocation_short_name = const_cast<char*>(worker::kStoreName);
    ::_exit(worker::ServeBackend(worker::kSocketFd, args[1], args[2]));
  }
  if (!args.empty()) {
    (void)std::fputs("cryptvol-worker: is started by cryptvol-csi, not by hand\n", stderr);
    return 2;
  }
  if (absl::Status status = ForbidCoreDumps(); !status.ok()) return 1;
  worker::LockAllMemory();
  worker::WarmUp();
  // Not by way of exit(): what libraries tidy up then costs as much as a small operation.
  ::_exit(worker::Serve());
}
