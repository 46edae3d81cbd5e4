// cryptvol-worker: carries out what the driver may not do itself. Started by the driver, speaks on
// descriptor 3 (protocol.h), ends when the driver closes it. Not meant to be run by hand.

#include <cstdio>

#include "base/secret_bytes.h"
#include "worker/dispatcher.h"
#include "worker/protocol.h"

int main(int argc, char** /*argv*/) {
  using namespace cryptvol;
  if (argc > 1) {
    std::fputs("cryptvol-worker: is started by cryptvol-csi and takes no arguments\n", stderr);
    return 2;
  }
  if (absl::Status status = ForbidCoreDumps(); !status.ok()) return 1;
  worker::LuksSession::WarmUp();
  auto lock = worker::ReceiveLock(worker::kSocketFd);
  if (!lock.ok()) return 0;  // a spare that was never needed
  worker::Dispatcher dispatcher;
  while (true) {
    // Waiting for the next request needs no deadline: the driver closes the socket, or dies.
    auto request =
        worker::ReceiveMessage(worker::kSocketFd, Deadline::After(std::chrono::hours(24)));
    if (!request.ok()) return request.status().code() == absl::StatusCode::kUnavailable ? 0 : 1;
    const nlohmann::json reply = dispatcher.Handle(*request);
    const Deadline deadline = Deadline::After(std::chrono::minutes(1));
    if (!worker::SendMessage(worker::kSocketFd, reply, nullptr, deadline).ok()) return 1;
  }
}
