// Checks a backup without writing anything.
#ifndef CRYPTVOL_SNAPSHOT_VERIFY_H_
#define CRYPTVOL_SNAPSHOT_VERIFY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "age/recipient.h"
#include "etcd/database.h"
#include "snapshot/catalog.h"
#include "snapshot/progress.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot {

enum class VerifyDepth {
  kQuick,  // header, first and last chunk, by ranged reads
  kFull,   // all of it: digest, chunks, content's size; of etcd's the trailer and the meta pages
  kDeep,   // as kFull, and etcd's whole tree by ranged reads
};

struct VerifyOptions {
  VerifyDepth depth = VerifyDepth::kFull;
  // Null or empty: what needs no key is checked: signature and chain (by ReadCatalog), and, but for
  // kQuick, the payload's digest.
  const age::Identities* identities = nullptr;
  size_t threads = 0;
  ProgressCallback progress;
};

struct VerifyResult {
  bool decrypted = false;                          // false: no identity was given
  bool digest_checked = false;                     // of the whole payload
  std::vector<std::string> checked;                // in words, for a person
  std::optional<etcd::DatabaseSummary> etcd;       // with identities, of kind etcd, if not kQuick
  std::optional<etcd::DatabaseContents> contents;  // kDeep
};

// `entry` is a good backup of ReadCatalog's.
//  UNAUTHENTICATED   no identity opens it, or its header was damaged
//  DATA_LOSS         it was altered, or is not what its manifest says
absl::StatusOr<VerifyResult> VerifyBackup(Target& target, const Entry& entry,
                                          const VerifyOptions& options);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_VERIFY_H_
