// One process at a time reads and replaces a small file.
#ifndef CRYPTVOL_SNAPSHOT_FOLDER_LOCK_H_
#define CRYPTVOL_SNAPSHOT_FOLDER_LOCK_H_

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace cryptvol::snapshot {

// Ends with the descriptor. Of the file's folder, since the file itself is replaced. Waits for
// others, which hold it while they write; UNAVAILABLE after 30 seconds. NFS locks no directories:
// there it is no lock.
absl::StatusOr<UniqueFd> LockFolderOf(const std::string& path);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_FOLDER_LOCK_H_
