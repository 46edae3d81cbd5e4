#include "etcd/snapshot_file.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/sha256.h"
#include "base/status.h"

namespace cryptvol::etcd {
namespace {

constexpr uint64_t kBytesAtOnce = uint64_t{1} << 20;

absl::StatusOr<Sha256Digest> DigestOf(RangeSource& source, uint64_t bytes) {
  Sha256Stream hash;
  std::vector<uint8_t> buffer(std::min(bytes, kBytesAtOnce));
  for (uint64_t offset = 0; offset < bytes; offset += buffer.size()) {
    buffer.resize(std::min(bytes - offset, kBytesAtOnce));
    CV_RETURN_IF_ERROR(source.ReadAt(offset, buffer));
    hash.Update(buffer);
  }
  return hash.Finish();
}

}  // namespace

absl::StatusOr<SnapshotLayout> ParseSnapshotSize(uint64_t file_bytes) {
  const uint64_t rest = file_bytes % kSectorBytes;
  if (file_bytes >= kSectorBytes && rest == kDigestBytes) {
    return SnapshotLayout{.database_bytes = file_bytes - kDigestBytes, .has_digest = true};
  }
  if (file_bytes >= kSectorBytes && rest == 0) {
    return SnapshotLayout{.database_bytes = file_bytes, .has_digest = false};
  }
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "read the snapshot: {} bytes are neither a database nor a database with its "
                    "SHA-256: it was cut short, or is not a snapshot of etcd",
                    file_bytes);
}

absl::Status CheckDigest(RangeSource& snapshot) {
  CV_ASSIGN_OR_RETURN(const SnapshotLayout layout, ParseSnapshotSize(snapshot.size()));
  if (!layout.has_digest) {
    return FailedPrecondition(
        "check the snapshot: it ends without a SHA-256: it was copied from a data directory, not "
        "taken with `snapshot save`");
  }
  Sha256Digest expected;
  CV_RETURN_IF_ERROR(snapshot.ReadAt(layout.database_bytes, expected));
  CV_ASSIGN_OR_RETURN(const Sha256Digest found, DigestOf(snapshot, layout.database_bytes));
  if (found == expected) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "check the snapshot: its SHA-256 does not match: it was changed after etcd "
                    "wrote it; use another");
}

}  // namespace cryptvol::etcd
