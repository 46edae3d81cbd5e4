// The running driver: from validated options to the last answer after SIGTERM.
#ifndef CRYPTVOL_CSI_SERVER_H_
#define CRYPTVOL_CSI_SERVER_H_

#include "absl/status/status.h"
#include "csi/options.h"
#include "volume/environment.h"

namespace cryptvol::driver {

// The parts that main chooses.
struct Parts {
  volume::Storage* storage;
  volume::DeviceWorkerFactory* workers;
  volume::FilesystemTools* tools;
  std::function<int()> abandoned_workers;
  std::function<int()> unanswered_backend_calls;
  volume::HeaderEscrow escrow;
};

// Blocks SIGTERM and SIGINT for this thread and all that it starts. Before the first thread.
void BlockSignals();

// Serves until SIGTERM or SIGINT, then refuses new calls and waits for those at work, at most
// options.drain_seconds. A call that takes longer ends with the process; repeating it after the
// restart finishes its work. Does not return in that case: a thread of it may wait for ever.
absl::Status Serve(const Options& options, const Parts& parts);

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_SERVER_H_
