// Small state files that a crash leaves either as they were or as they should be.
#ifndef CRYPTVOL_BASE_ATOMIC_FILE_H_
#define CRYPTVOL_BASE_ATOMIC_FILE_H_

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace cryptvol {

class ByteSink;

// Replaces `path` by a file with `content` and mode 0600, durably: a temporary file beside it is
// written and synced, renamed over it, and the directory synced. On an error the old file is still
// there, except that an error of the last step leaves either of the two.
absl::Status WriteFileAtomically(const std::string& path, std::string_view content);

// The same for what is not in memory as a whole: `write` gives it to the sink.
absl::Status WriteFileAtomically(const std::string& path,
                                 const std::function<absl::Status(ByteSink&)>& write);

// Creates the file, durably, or answers ALREADY_EXISTS and leaves what is there.
absl::Status CreateFileExclusively(const std::string& path, std::string_view content);

// Removes `path`, durably. An absent file is success.
absl::Status RemoveFileDurably(const std::string& path);

// Makes the entries of a directory durable after files in it were created, renamed or removed.
absl::Status SyncDirectory(const std::string& directory);

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_ATOMIC_FILE_H_
