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
  // Of other writers, whose backups count beside the signing key's, as while keys are replaced.
  std::vector<minisign::PublicKey> verify_keys;
  std::string written_to;  // as Trust has it
  // Payloads' names of backups that no rule counts, and that go nevertheless: what a wrong clock
  // dated, and entries whose payload is missing or altered.
  std::vector<std::string> drop;
  bool dry_run = false;
  // What has no signature, no manifest or no end is removed when it is older.
  std::chrono::seconds abort_after{24 * 3600};
  Clock clock = SystemTime;
};

struct PruneResult {
  std::vector<Entry> kept;
  std::vector<Entry> removed;            // or would be, in a dry run
  std::vector<Entry> of_others;          // not kept either, but only their own key may remove them
  std::vector<std::string> litter;       // incomplete manifests and payloads without any
  std::vector<AbandonedUpload> uploads;  // aborted
  std::vector<std::string> warnings;
};

// Retention goes by the backups that the signing key or a verify key signed, each cluster and kind
// (etcd, stream) by itself, and never removes the newest of one: that by its time, that which is
// restored (NewestOf), and the last of the signing key's, unless another writer's is later by both
// its time and the store's; and the newest of which something proved that it was whole. One that is
// out of order, or dated later than the clock and kClockTolerance, is kept and does not count. What
// is removed is of the signing key's own chain; an entry that says so is signed first.
//  FAILED_PRECONDITION  a chain has a gap, a fork or another alarm: nothing was removed
//  NOT_FOUND            `drop` names what the signing key's chain does not have; nothing was removed
//  INVALID_ARGUMENT     `drop` names a backup that counts; nothing was removed
absl::StatusOr<PruneResult> Prune(Target& target, const PruneOptions& options);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_PRUNE_H_
