// A snapshot as `etcdctl snapshot save` leaves it in a file: the database, then its SHA-256.
#ifndef CRYPTVOL_ETCD_SNAPSHOT_FILE_H_
#define CRYPTVOL_ETCD_SNAPSHOT_FILE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/stream.h"

namespace cryptvol::etcd {

inline constexpr uint64_t kDigestBytes = 32;
// Databases are made of pages, which are multiples of it: what is left over is the digest.
inline constexpr uint64_t kSectorBytes = 512;

struct SnapshotLayout {
  uint64_t database_bytes = 0;
  // False for a database that was copied from a member's data directory. etcd restores it only with
  // --skip-hash-check.
  bool has_digest = false;
};

// From the file's size alone. DATA_LOSS when it can be neither: the file was cut.
absl::StatusOr<SnapshotLayout> ParseSnapshotSize(uint64_t file_bytes);

// Reads the whole database and compares. DATA_LOSS when the digest is wrong, FAILED_PRECONDITION
// when there is none.
absl::Status CheckDigest(RangeSource& snapshot);

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_SNAPSHOT_FILE_H_
