// Bringing a volume's keyslots in line with its Secret, after the key in it was replaced.
//
// The volume key, which encrypts the data, stays: what changes is which passphrases open it. Order:
// the new keyslot, the proof that it opens, the token's key id, and only then the old keyslot is
// destroyed. So at every moment one of the keys in the Secret opens the volume, and what a crash
// left is finished by the next run. docs/secrets.md tells users how to rotate.
#ifndef CRYPTVOL_VOLUME_KEY_ROTATION_H_
#define CRYPTVOL_VOLUME_KEY_ROTATION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "volume/environment.h"
#include "volume/requests.h"
#include "volume/unlock.h"

namespace cryptvol::volume {

enum class RotationResult {
  kUnchanged,  // the current key opens it, and no previous one does
  kRotated,
};

// The worker has inspected the device and unlocked it with `secret`; the volume may be mapped and
// in use. Nothing but keyslots and the token changes. An error leaves the volume open to the keys
// that it was open to.
absl::StatusOr<RotationResult> RotateKeys(const Environment& environment, DeviceWorker& worker,
                                          const std::string& volume_id,
                                          const VolumeOptions& options,
                                          const keys::VolumeSecret& secret,
                                          const HeaderSummary& header, const Unlocked& unlocked);

// The same for a volume that an earlier call staged.
absl::StatusOr<RotationResult> RotateStaged(const Environment& environment,
                                            const RotateRequest& request,
                                            std::shared_ptr<OperationLock> lock);

// To the log, and to the observer.
void ReportRotation(const Environment& environment, const std::string& volume_id,
                    const absl::StatusOr<RotationResult>& result);

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_KEY_ROTATION_H_
