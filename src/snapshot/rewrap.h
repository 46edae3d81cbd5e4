// Gives backups a new list of recipients; the payload stays where it is.
#ifndef CRYPTVOL_SNAPSHOT_REWRAP_H_
#define CRYPTVOL_SNAPSHOT_REWRAP_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "age/recipient.h"
#include "snapshot/catalog.h"
#include "snapshot/progress.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot {

struct RewrapOptions {
  const age::Identities* identities = nullptr;  // that open it now
  const age::Recipients* recipients = nullptr;  // all that shall open it from now on
  int reads_in_flight = 4;
  ProgressCallback progress;  // of the check of the payload
};

struct RewrapResult {
  uint64_t old_header_bytes = 0;
  uint64_t new_header_bytes = 0;
};

// Checks manifest and payload first, then puts the new header in place, at once: a crash leaves one
// of the two. Whoever had the file key keeps it. `entry` is a good backup of ReadCatalog's.
//  UNAUTHENTICATED      no identity opens it, or its header was damaged
//  DATA_LOSS            it was altered, or is not what its manifest says
//  FAILED_PRECONDITION  it was changed by somebody else meanwhile
absl::StatusOr<RewrapResult> RewrapBackup(Target& target, const Entry& entry,
                                          const RewrapOptions& options);

struct RewrapAllOptions {
  RewrapOptions rewrap;
  // A file that says which ones are done, so that an interrupted run goes on where it was; absent at
  // first, removed at the end. Empty: none.
  std::string journal;
  // Of the list of recipients, such as a digest of their texts: a journal of another list is
  // refused (FAILED_PRECONDITION).
  std::string recipients_id;
  std::function<void(const Entry&, const absl::Status&)> done;  // after each; may be empty
};

struct RewrapAllResult {
  uint64_t rewrapped = 0;
  uint64_t skipped = 0;             // done in an earlier run
  std::vector<std::string> failed;  // objects
};

// Goes on after one that fails, but for a failure of the target itself.
absl::StatusOr<RewrapAllResult> RewrapAll(Target& target, const std::vector<const Entry*>& entries,
                                          const RewrapAllOptions& options);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_REWRAP_H_
