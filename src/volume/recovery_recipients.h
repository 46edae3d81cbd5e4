// Who may open a volume, or a saved header, when cluster and Secret are gone: age recipients, as a
// StorageClass or a file lists them.
#ifndef CRYPTVOL_VOLUME_RECOVERY_RECIPIENTS_H_
#define CRYPTVOL_VOLUME_RECOVERY_RECIPIENTS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cryptvol::volume {

// Separated by white space or commas; "#" begins a comment that goes to the end of its line. Native
// recipients only ("age1..."), since the driver runs no plugins; none twice; at most
// luks::kMaxRecoveryRecipients. INVALID_ARGUMENT counts the entries, and does not quote them: an
// identity may stand where a recipient was meant.
absl::StatusOr<std::vector<std::string>> ParseRecoveryRecipients(std::string_view text);

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_RECOVERY_RECIPIENTS_H_
