// Gets the content of a backup back.
#ifndef CRYPTVOL_SNAPSHOT_RESTORE_H_
#define CRYPTVOL_SNAPSHOT_RESTORE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "age/recipient.h"
#include "base/stream.h"
#include "snapshot/catalog.h"
#include "snapshot/progress.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot {

struct RestoreOptions {
  const age::Identities* identities = nullptr;
  size_t threads = 0;         // of decryption; 0: one for each processor
  int reads_in_flight = 4;    // ranged reads at once, of 4 MiB
  ProgressCallback progress;  // of bytes read from the target
};

struct RestoreResult {
  uint64_t content_bytes = 0;
};

// Writes the content to a new file (mode 0600), which appears under its name only when it is whole
// and all that the manifest says of it has been checked; of etcd's, also the digest in it. `entry`
// is a good backup of ReadCatalog's.
//  ALREADY_EXISTS    the file is there
//  UNAUTHENTICATED   no identity opens it, or its header was damaged
//  DATA_LOSS         it was altered, or is not what its manifest says
absl::StatusOr<RestoreResult> RestoreBackup(Target& target, const Entry& entry,
                                            const std::string& path, const RestoreOptions& options);

// Writes the content to a sink, which gets nothing before the whole payload was found to have the
// manifest's digest and to be authentic under its key: the payload is read and decrypted twice, and
// a store that shows another one the second time gets nothing out. Still only OK says that the sink got all of it:
// whoever acts on the bytes before (a pipe into tar) must undo it after an error.
absl::StatusOr<RestoreResult> LoadBackup(Target& target, const Entry& entry, ByteSink& sink,
                                         const RestoreOptions& options);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_RESTORE_H_
