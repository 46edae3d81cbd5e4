// What a writer says about a backup: docs/format.md, "The manifest".
#ifndef CRYPTVOL_SNAPSHOT_MANIFEST_H_
#define CRYPTVOL_SNAPSHOT_MANIFEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

inline constexpr size_t kMaxManifestBytes = 262'144;

enum class Kind { kEtcd, kStream, kPrune };
enum class Compression { kNone, kZstd };
enum class Completeness { kEtcdTrailer, kCommand, kSize, kSha256, kUnproven };

// As the format writes them: "etcd", "zstd", "etcd-trailer".
std::string_view KindText(Kind kind);
std::string_view CompressionText(Compression compression);
std::string_view CompletenessText(Completeness completeness);

struct HashKv {
  int64_t revision = 0;
  uint32_t hash = 0;

  bool operator==(const HashKv&) const = default;
};

struct EtcdRecord {
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  int64_t revision = 0;
  // `revision` is what the member had just before: the snapshot's own may be higher.
  bool revision_is_lower_bound = false;
  std::string version;  // of the server
  std::optional<HashKv> hash_kv;

  bool operator==(const EtcdRecord&) const = default;
};

struct BackupRecord {
  std::string object;
  Timestamp started;
  Compression compression = Compression::kNone;
  uint64_t plaintext_size = 0;  // after compression
  uint64_t content_size = 0;    // before
  std::string payload_sha256;   // hexadecimal, lower case: of nonce and chunks
  Completeness completeness = Completeness::kUnproven;
  std::optional<EtcdRecord> etcd;  // exactly of kind etcd

  bool operator==(const BackupRecord&) const = default;
};

struct Removal {
  uint64_t sequence = 0;
  std::string object;  // empty: the entry has none that could be believed
  std::string manifest_sha256;

  bool operator==(const Removal&) const = default;
};

struct SequenceRange {
  uint64_t first = 0;
  uint64_t last = 0;

  bool operator==(const SequenceRange&) const = default;
};

struct KeptPlace {
  uint64_t sequence = 0;
  std::string manifest_sha256;

  bool operator==(const KeptPlace&) const = default;
};

struct PruneRecord {
  std::vector<Removal> removes;
  std::vector<SequenceRange> absent;  // ascending, apart from each other
  // Ascending: what stands where prune had removed another, and stays.
  std::vector<KeptPlace> kept;

  bool operator==(const PruneRecord&) const = default;
};

struct PreviousEntry {
  uint64_t sequence = 0;
  std::string manifest_sha256;
  bool was_signed = false;
  // Only when it was not: the last entry before it that was; 0: none. Absent: the writer, an older
  // one, did not say.
  std::optional<uint64_t> last_signed;

  bool operator==(const PreviousEntry&) const = default;
};

struct Manifest {
  std::string target;
  std::string cluster;  // of a prune entry: that of what it removes, or the first of them
  std::string writer;
  uint64_t sequence = 0;
  std::optional<PreviousEntry> previous;  // absent: the first entry
  Timestamp time;
  std::variant<BackupRecord, PruneRecord> record;

  Kind kind() const;
  const BackupRecord* backup() const { return std::get_if<BackupRecord>(&record); }
  const PruneRecord* prune() const { return std::get_if<PruneRecord>(&record); }
  bool operator==(const Manifest&) const = default;
};

// INVALID_ARGUMENT when no manifest can hold it as its target.
absl::Status CheckTargetName(const std::string& name);

// INVALID_ARGUMENT when it would not parse again: a field is none of its kind, or it is too long.
absl::StatusOr<std::string> SerializeManifest(const Manifest& manifest);

// Of bytes that a stranger may have written. INVALID_ARGUMENT for anything but what
// SerializeManifest makes (in any layout that JSON allows); UNIMPLEMENTED for a newer format.
absl::StatusOr<Manifest> ParseManifest(std::string_view text);

// Hexadecimal, lower case.
std::string Sha256Text(std::string_view bytes);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_MANIFEST_H_
