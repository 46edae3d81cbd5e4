// Directories: listing them, and making those that state is kept in.
#ifndef CRYPTVOL_BLOCK_DIRECTORY_H_
#define CRYPTVOL_BLOCK_DIRECTORY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::block {

// The names in a directory, ascending, without "." and "..".
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);

// Makes an absolute path and its parents, with mode 0700 and durably. What exists is left as it is.
absl::Status MakeDirectories(const std::string& path);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_DIRECTORY_H_
