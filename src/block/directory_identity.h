// That a directory is the one that it was. What lies on a disk of its own, or on a server, is an empty directory,
// or another one, while that is not mounted.
#ifndef CRYPTVOL_BLOCK_DIRECTORY_IDENTITY_H_
#define CRYPTVOL_BLOCK_DIRECTORY_IDENTITY_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::block {

// The directory has an id in it, DIRECTORY/id, which a file elsewhere remembers. Check is thread-safe.
class DirectoryIdentity {
 public:
  DirectoryIdentity(std::string directory, std::string remembered_in)
      : directory_(std::move(directory)), remembered_in_(std::move(remembered_in)) {}

  // Whether an id is remembered. DATA_LOSS when the file holds something else.
  absl::StatusOr<bool> Recall();

  // Gives the directory, which must be there, an id if it has none, and remembers it, durably.
  absl::Status Remember();

  // FAILED_PRECONDITION, with the way out, unless the directory has the id that was recalled or remembered.
  // `purpose` begins the message: "use loop:/disk".
  absl::Status Check(std::string_view purpose) const;

 private:
  std::string PathInIt() const { return directory_ + "/id"; }
  absl::StatusOr<std::string> ReadOrMake() const;

  std::string directory_;
  std::string remembered_in_;
  std::string id_;
};

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_DIRECTORY_IDENTITY_H_
