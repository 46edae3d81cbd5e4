// Opening a volume with what its Secret holds.
#ifndef CRYPTVOL_VOLUME_UNLOCK_H_
#define CRYPTVOL_VOLUME_UNLOCK_H_

#include <string>

#include "absl/status/statusor.h"
#include "keys/volume_secret.h"
#include "volume/environment.h"

namespace cryptvol::volume {

// A place in the budget, for as long as the environment allows to wait. In the background that is a
// moment, and ABORTED; otherwise DEADLINE_EXCEEDED; RESOURCE_EXHAUSTED as KdfBudget::Acquire.
absl::StatusOr<KdfBudget::Grant> AcquireKdfMemory(const Environment& environment,
                                                  uint64_t kdf_bytes);

struct Unlocked {
  int keyslot = 0;
  bool with_current = true;  // else with one of the previous keys
};

// Waits for room in the memory budget, then tries the current key, then the previous ones, on the
// header that the worker inspected.
//  UNAUTHENTICATED     no keyslot opens with any of them; says which key the volume was made with,
//                      if its token knows
//  RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED   as KdfBudget::Acquire
absl::StatusOr<Unlocked> UnlockWithAnyKey(const Environment& environment, DeviceWorker& worker,
                                          const std::string& device, const HeaderSummary& header,
                                          const keys::VolumeSecret& secret);

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_UNLOCK_H_
