// What failed saves and interrupted prunes left behind.
#ifndef CRYPTVOL_SNAPSHOT_LITTER_H_
#define CRYPTVOL_SNAPSHOT_LITTER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "snapshot/catalog.h"
#include "snapshot/target.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

// Payloads that no manifest mentions, signed or not, trusted or not, and that are older than
// `before`: another writer's are not ours to remove. Reads the manifests that `chain` does not have,
// but for those of `incomplete`, which are removed as well. None, and a warning, when one of another
// writer cannot be read: any payload may be what it names.
absl::StatusOr<std::vector<FileName>> FindOrphans(Target& target, const Listing& listing,
                                                  const Chain& chain,
                                                  const std::vector<Entry>& incomplete,
                                                  Timestamp before,
                                                  std::vector<std::string>& warnings);

// The files of the chain's entries that are removed already, as its prune entries have it. What was
// written since the chain was read is not among them.
std::vector<FileName> FindRemains(const Listing& listing, const Chain& chain);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_LITTER_H_
