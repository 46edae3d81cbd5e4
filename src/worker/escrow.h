// The directory of the header escrow. May wait for the directory's filesystem.
#ifndef CRYPTVOL_WORKER_ESCROW_H_
#define CRYPTVOL_WORKER_ESCROW_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::worker {

// Mode 0700; one that is there stays as it is.
absl::Status MakeEscrowDirectory(const std::string& directory);

// The names that begin with `prefix` and are those of saved headers, or of what a write that was cut
// short has left of one.
absl::StatusOr<std::vector<std::string>> ListEscrowed(const std::string& directory,
                                                      const std::string& prefix);

// DeviceWorker::RemoveEscrowed.
absl::Status RemoveEscrowed(const std::string& directory, const std::string& volume);

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_ESCROW_H_
