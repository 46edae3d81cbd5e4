// The directory of the header escrow. May wait for the directory's filesystem.
#ifndef CRYPTVOL_WORKER_ESCROW_H_
#define CRYPTVOL_WORKER_ESCROW_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "volume/device_worker.h"

namespace cryptvol::worker {

// That headers can be kept in it: the node's first save makes it, with mode 0700, and every later one
// wants the same directory. DeviceWorker::EscrowHeader.
absl::Status PrepareEscrow(const volume::EscrowDirectory& directory);

// The names that begin with `prefix` and are those of saved headers, or of what a write that was cut
// short has left of one.
absl::StatusOr<std::vector<std::string>> ListEscrowed(const std::string& directory,
                                                      const std::string& prefix);

// DeviceWorker::RemoveEscrowed.
absl::Status RemoveEscrowed(const volume::EscrowDirectory& directory, const std::string& volume);

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_ESCROW_H_
