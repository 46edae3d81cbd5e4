// Saves a stream as a backup: compressed, encrypted, recorded, signed.
#ifndef CRYPTVOL_SNAPSHOT_SAVE_H_
#define CRYPTVOL_SNAPSHOT_SAVE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "age/recipient.h"
#include "base/stream.h"
#include "etcd/member_choice.h"
#include "etcd/snapshot_source.h"
#include "minisign/keys.h"
#include "snapshot/manifest.h"
#include "snapshot/progress.h"
#include "snapshot/target.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

// How a stream is known to be whole. All that are given must hold, or nothing is saved; with none
// the backup is recorded as of unproven completeness.
struct Proofs {
  std::optional<uint64_t> size;  // of the content
  std::string sha256;            // of the content; hexadecimal; empty: none
  // Called once, at the stream's end: OK when the producer ended well (exit status 0).
  std::function<absl::Status()> producer_ended;
};

struct SaveOptions {
  std::string cluster;
  const age::Recipients* recipients = nullptr;
  const minisign::SecretKey* signing_key = nullptr;
  Compression compression = Compression::kNone;
  int zstd_level = 3;  // 1 to 19; memory grows with it, up to some 100 MiB
  Proofs proofs;       // of SaveStream
  // What the manifest names as its target, where a chain goes on at another place than it began;
  // empty: the target's own name.
  std::string written_to;
  // About how much will come, where that is known: for progress and the sizes of parts.
  std::optional<uint64_t> expected_bytes;
  // Of SaveEtcd: read the revision from the payload just written. False where credentials may only
  // write; the revision is then a lower bound.
  bool read_back = true;
  size_t threads = 0;  // of encryption; 0: one for each processor
  ProgressCallback progress;
  Clock clock = SystemTime;
};

struct SaveResult {
  Manifest manifest;  // with a backup's record
  std::string manifest_sha256;
  uint64_t payload_bytes = 0;         // of the file, header included
  std::vector<std::string> warnings;  // what did not hinder
};

// Memory does not depend on the stream's length. After an error there is no backup; what may have
// stayed is what `prune` removes. The pointers of `options` are set and outlive the call.
//  INVALID_ARGUMENT   options that cannot be
//  DATA_LOSS          a proof of completeness failed; with etcd, its trailer was wrong
//  codes of the source, of `producer_ended`, of the target, and of the recipients' plugins
absl::StatusOr<SaveResult> SaveStream(Target& target, ByteSource& source,
                                      const SaveOptions& options);

struct MemberHash {
  uint32_t hash = 0;
  int64_t compacted_revision = 0;  // 0 or less: never compacted
};

// The member that the snapshot comes from.
struct EtcdOrigin {
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  std::string version;
  int64_t revision = 0;  // before the snapshot was taken
  // Asks the same member for its hash at a revision. Null, an error, or a member that was compacted
  // since the snapshot, which changes the hash: the manifest has none.
  std::function<absl::StatusOr<MemberHash>(int64_t revision)> hash_kv;
};
EtcdOrigin OriginOf(const etcd::EndpointReport& chosen);

absl::StatusOr<SaveResult> SaveEtcd(Target& target, etcd::SnapshotSource& source,
                                    const EtcdOrigin& origin, const SaveOptions& options);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_SAVE_H_
