// What a reader has seen, kept away from the target: a bucket cannot prove that it shows the newest.
#ifndef CRYPTVOL_SNAPSHOT_STATE_FILE_H_
#define CRYPTVOL_SNAPSHOT_STATE_FILE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "snapshot/catalog.h"

namespace cryptvol::snapshot {

struct SeenHead {
  uint64_t sequence = 0;
  std::string manifest_sha256;
};

// By target (as manifests name it) and writer.
using SeenChains = std::map<std::pair<std::string, std::string>, SeenHead>;

// An absent file is an empty state. DATA_LOSS for one that is not ours.
absl::StatusOr<SeenChains> LoadState(const std::string& path);

// Compares the catalog with what was seen, adds alarms (kRollback, kFork, kSignatureMissing) to it,
// and then replaces the file by what is seen now; a chain with an alarm of these kinds keeps its old mark. Whoever
// wants to look only passes `update` false.
// Others that do the same wait.
absl::Status ApplyState(const std::string& path, Catalog& catalog, bool update = true);

// Both. Reads the catalog again when the file has seen more than it shows: another reader may have
// noted a backup that came in between.
absl::StatusOr<Catalog> ReadCatalogWithState(Target& target, const Trust& trust,
                                             const std::string& path);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_STATE_FILE_H_
