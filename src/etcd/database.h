// What an etcd database holds: read from a snapshot, without a server.
#ifndef CRYPTVOL_ETCD_DATABASE_H_
#define CRYPTVOL_ETCD_DATABASE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/stream.h"
#include "etcd/bolt_tree.h"

namespace cryptvol::etcd {

struct MemberRecord {
  uint64_t id = 0;
  std::string name;  // '?' for all that is not printable ASCII; empty when never started
};

// The cluster's id is not in the database: etcd derives it from the members' first configuration.
struct DatabaseSummary {
  // Of the store, as `etcdctl snapshot status` gives it, and never below the compacted one: when
  // the last change was a deletion, a compaction takes its record away.
  int64_t revision = 1;
  std::optional<int64_t> compacted_revision;
  std::optional<uint64_t> consistent_index;  // the last Raft entry that was applied
  std::optional<uint64_t> term;              // since etcd 3.5
  std::string cluster_version;               // since 3.5; as MemberRecord::name
  std::string storage_version;               // since 3.6
  std::vector<MemberRecord> members;         // by id
};

struct DatabaseContents {
  DatabaseSummary summary;
  TreeReport tree;
  uint64_t revisions = 0;   // records in the bucket `key`, deletions included
  uint64_t tombstones = 0;  // those that are deletions
  // Keys that exist at the last revision. nullopt when they are too many to be counted in memory.
  std::optional<uint64_t> live_keys;
};

inline constexpr uint64_t kMaxCountedKeys = uint64_t{8} << 20;  // some 150 MB
inline constexpr size_t kMaxMembers = 1024;

// Reads a handful of pages. `database_bytes` as in ReadMeta; the source must hold that much.
//  FAILED_PRECONDITION  not an etcd database, or one without etcd's buckets
//  DATA_LOSS            damaged in what was read
absl::StatusOr<DatabaseSummary> ReadSummary(RangeSource& source, uint64_t database_bytes);

// Reads all that is in use, and checks it: the tree as CheckTree does, each revision's key, and
// that its record is one and belongs there. The errors of ReadSummary, and DATA_LOSS.
absl::StatusOr<DatabaseContents> CheckDatabase(RangeSource& source, uint64_t database_bytes);

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_DATABASE_H_
