// The latest header of each volume, encrypted to age recipients, in a directory that is backed up:
// what `header restore` takes when a volume's own header is gone.
#ifndef CRYPTVOL_VOLUME_HEADER_ESCROW_H_
#define CRYPTVOL_VOLUME_HEADER_ESCROW_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "volume/device_worker.h"

namespace cryptvol::volume {

struct Environment;

struct HeaderEscrow {
  EscrowDirectory directory;  // an empty path: there is none
  std::vector<std::string> recipients;

  bool on() const { return !directory.path.empty(); }
};

// Saves the header that the device has now, if the directory does not have it yet. The volume is
// used all the same when that fails: the failure is reported to the log and the observer, and the
// next stage tries again. Call it under the volume's lock.
void KeepHeader(const Environment& environment, const std::string& device,
                const std::string& volume_id);

// A deleted volume's saved headers would keep its keyslots. ABORTED while the directory does not
// answer, FAILED_PRECONDITION while it is not there (its disk is not mounted): the call is repeated.
absl::Status RemoveKeptHeaders(const Environment& environment, const std::string& volume_id);

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_HEADER_ESCROW_H_
