// The directory of the header escrow. May wait for the directory's filesystem.
#ifndef CRYPTVOL_WORKER_ESCROW_H_
#define CRYPTVOL_WORKER_ESCROW_H_

#include <string>

#include "absl/status/status.h"

namespace cryptvol::worker {

// Mode 0700; one that is there stays as it is.
absl::Status MakeEscrowDirectory(const std::string& directory);

// DeviceWorker::RemoveEscrowed.
absl::Status RemoveEscrowed(const std::string& directory, const std::string& volume);

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_ESCROW_H_
