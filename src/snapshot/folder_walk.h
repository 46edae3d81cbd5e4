// The files of a directory target: those in the directory, in chain/ and in its folders.
#ifndef CRYPTVOL_SNAPSHOT_FOLDER_WALK_H_
#define CRYPTVOL_SNAPSHOT_FOLDER_WALK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "s3/text.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

// A foreign name for a message.
inline std::string Shown(std::string_view path) { return s3::Escaped(path); }

struct WalkedFile {
  std::string path;  // below the directory; foreign
  std::string leaf;
  int folder = -1;  // an open descriptor of where it lies
  bool regular = false;
  bool hidden = false;
  uint64_t size = 0;
  Timestamp modified;
};

// `visit` sees everything but the folders that are walked. Its error ends the walk. Only chain/ and
// the folders in it are walked; symbolic links are not followed.
absl::Status WalkFolder(int directory, const std::string& shown,
                        const std::function<absl::Status(const WalkedFile&)>& visit);

// With `create` it is made when it is absent. NOT_FOUND.
absl::StatusOr<UniqueFd> OpenFolder(int parent, const std::string& leaf, bool create,
                                    const std::string& shown);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_FOLDER_WALK_H_
