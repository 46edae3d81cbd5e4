// Proves that a backup of etcd comes back to life.
#ifndef CRYPTVOL_SNAPSHOT_ETCD_DRILL_H_
#define CRYPTVOL_SNAPSHOT_ETCD_DRILL_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "age/recipient.h"
#include "etcd/temporary_member.h"
#include "snapshot/catalog.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot {

// What the temporary member said.
struct EtcdDrill {
  int64_t revision = 0;
  uint32_t hash = 0;           // HashKV at that revision
  bool hash_compared = false;  // false: the manifest has none
  uint64_t live_keys = 0;      // at that revision
};

struct EtcdDrillOptions {
  const age::Identities* identities = nullptr;
  etcd::MemberPrograms programs;
  std::chrono::milliseconds timeout{600'000};
  // For a store with authentication; `password` outlives the call.
  std::string user;
  const SecretBytes* password = nullptr;
};

// Restores the backup into a temporary member, in memory only, and compares revision, hash and
// number of keys with the manifest and the database in the backup. Everything is gone when it
// returns, and when the process ends. `entry` is a good backup of ReadCatalog's, of kind etcd.
//  DATA_LOSS           something differs, or the backup was altered
//  UNAUTHENTICATED     no identity opens it; or etcd wants another user
//  FAILED_PRECONDITION a program failed
//  RESOURCE_EXHAUSTED  it takes twice the database's size in memory
absl::StatusOr<EtcdDrill> DrillEtcd(Target& target, const Entry& entry,
                                    const EtcdDrillOptions& options);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_ETCD_DRILL_H_
