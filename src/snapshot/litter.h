// What failed saves and interrupted prunes left behind.
#ifndef CRYPTVOL_SNAPSHOT_LITTER_H_
#define CRYPTVOL_SNAPSHOT_LITTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "snapshot/catalog.h"
#include "snapshot/target.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

// Of the chain's entries that a writer passed over, those that may be backups of which somebody has
// overwritten the signature: the manifest says that it is this entry, written to `written_to`, and
// its payload is there, of a size that fits, and no signed entry's. A crash leaves no signature, so
// none of them is what a failed save left. Ascending.
absl::StatusOr<std::vector<uint64_t>> FindOverwritten(Target& target, const Listing& listing,
                                                      const Chain& chain,
                                                      const std::string& written_to);

// Payloads that no manifest mentions, signed or not, trusted or not, and that are older than
// `before`: another writer's are not ours to remove. Reads the manifests that `chain` does not have,
// but for those of `incomplete`, which are removed as well. None, and a warning, when one of another
// writer cannot be read: any payload may be what it names.
absl::StatusOr<std::vector<FileName>> FindOrphans(Target& target, const Listing& listing,
                                                  const Chain& chain,
                                                  const std::vector<Entry>& incomplete,
                                                  Timestamp before,
                                                  std::vector<std::string>& warnings);

// The files of the chain's entries that are removed already, as its prune entries have it, but for
// payloads that a good entry names. What was written since the chain was read is not among them.
std::vector<FileName> FindRemains(const Listing& listing, const Chain& chain);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_LITTER_H_
