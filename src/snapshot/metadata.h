// The copy of a manifest's fields in a payload's header, for reading without keys: see
// docs/format.md, "Metadata".
#ifndef CRYPTVOL_SNAPSHOT_METADATA_H_
#define CRYPTVOL_SNAPSHOT_METADATA_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "age/stanza.h"
#include "snapshot/manifest.h"

namespace cryptvol::snapshot {

inline constexpr size_t kMaxMetadataBytes = 4096;

struct Metadata {
  Kind kind = Kind::kStream;  // not kPrune
  std::string object;
  std::string cluster;
  std::string writer;
  Compression compression = Compression::kNone;

  bool operator==(const Metadata&) const = default;
};

std::string SerializeMetadata(const Metadata& metadata);
// INVALID_ARGUMENT for anything but what SerializeMetadata makes; UNIMPLEMENTED for a newer format.
absl::StatusOr<Metadata> ParseMetadata(std::string_view text);

// Of a manifest with a backup's record.
Metadata MetadataOf(const Manifest& manifest);

// DATA_LOSS when the header's metadata are absent, or not what the manifest says.
absl::Status CheckMetadata(std::span<const age::Stanza> stanzas, const Manifest& manifest);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_METADATA_H_
