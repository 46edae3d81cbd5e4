// Removes old backups, and what failed saves left.
#ifndef CRYPTVOL_SNAPSHOT_PRUNE_H_
#define CRYPTVOL_SNAPSHOT_PRUNE_H_

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "minisign/keys.h"
#include "snapshot/catalog.h"
#include "snapshot/retention.h"
#include "snapshot/target.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

struct PruneOptions {
  RetentionPolicy policy;  // an empty one removes no backup, only litter
  std::string cluster;     // empty: each cluster by itself
  const minisign::SecretKey* signing_key = nullptr;
  std::string written_to;  // as Trust has it
  bool dry_run = false;
  // What has no signature, no manifest or no end is removed when it is older.
  std::chrono::seconds abort_after{24 * 3600};
  Clock clock = SystemTime;
};

struct PruneResult {
  std::vector<Entry> kept;
  std::vector<Entry> removed;            // or would be, in a dry run
  std::vector<std::string> litter;       // incomplete manifests and payloads without any
  std::vector<AbandonedUpload> uploads;  // aborted
  std::vector<std::string> warnings;
};

// The signing key's own chain: retention goes by its backups, each cluster and kind (etcd, stream)
// by itself, and never removes the newest of one. An entry that says what is removed is signed
// first.
//  FAILED_PRECONDITION  the chain has a gap, a fork or another alarm: nothing was removed
absl::StatusOr<PruneResult> Prune(Target& target, const PruneOptions& options);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_PRUNE_H_
