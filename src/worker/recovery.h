// The passphrase of a recovery keyslot: random, and known to nobody but the holders of some age
// identities.
#ifndef CRYPTVOL_WORKER_RECOVERY_H_
#define CRYPTVOL_WORKER_RECOVERY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "age/recipient.h"
#include "base/secret_bytes.h"

namespace cryptvol::worker {

// Native ones only ("age1..."): the driver runs no plugins.
absl::StatusOr<age::Recipients> ParseNativeRecipients(const std::vector<std::string>& recipients);

struct RecoveryPassphrase {
  SecretBytes passphrase;  // 64 hexadecimal digits, without a newline: it can be typed
  std::string age_file;    // the same, encrypted and armored
};

absl::StatusOr<RecoveryPassphrase> MakeRecoveryPassphrase(
    const std::vector<std::string>& recipients);

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_RECOVERY_H_
