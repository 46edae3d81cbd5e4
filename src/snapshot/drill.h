// Proves that keys still open backups.
#ifndef CRYPTVOL_SNAPSHOT_DRILL_H_
#define CRYPTVOL_SNAPSHOT_DRILL_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "age/recipient.h"
#include "snapshot/catalog.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot {

struct DrilledBackup {
  const Entry* entry = nullptr;
  // For each identity, in their order: whether it alone opens header, first and last chunk.
  std::vector<absl::Status> by_identity;
};

// Tries each identity on each backup, by ranged reads. What fails is in the result; an error is one
// of the target's own.
absl::StatusOr<std::vector<DrilledBackup>> DrillIdentities(Target& target,
                                                           const std::vector<const Entry*>& entries,
                                                           const age::Identities& identities);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_DRILL_H_
