// The content behind an encrypted, perhaps compressed payload, by ranged reads.
#ifndef CRYPTVOL_SNAPSHOT_CONTENT_RANGE_H_
#define CRYPTVOL_SNAPSHOT_CONTENT_RANGE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "base/stream.h"
#include "snapshot/manifest.h"

namespace cryptvol::snapshot {

// With a cache of some 16 MiB. DATA_LOSS when the content has another size.
absl::StatusOr<std::unique_ptr<RangeSource>> OpenContentRange(
    std::shared_ptr<RangeSource> plaintext, Compression compression, uint64_t content_bytes);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_CONTENT_RANGE_H_
