// How far a long transfer has come.
#ifndef CRYPTVOL_SNAPSHOT_PROGRESS_H_
#define CRYPTVOL_SNAPSHOT_PROGRESS_H_

#include <cstdint>
#include <functional>
#include <optional>

namespace cryptvol::snapshot {

struct Progress {
  uint64_t bytes = 0;             // of the content (save), or of what is read from the target
  std::optional<uint64_t> total;  // where it is known
};

// Called often, from one thread at a time but not always the caller's; must be quick. May be empty.
using ProgressCallback = std::function<void(const Progress&)>;

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_PROGRESS_H_
