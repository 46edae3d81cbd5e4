// What writer and reader of manifests share.
#ifndef CRYPTVOL_SNAPSHOT_MANIFEST_FORMAT_H_
#define CRYPTVOL_SNAPSHOT_MANIFEST_FORMAT_H_

#include <cstdint>
#include <string_view>

namespace cryptvol::snapshot {

// Signatures over anything else never are over a manifest.
inline constexpr std::string_view kManifestLine = "cryptsnap-manifest/v1";
inline constexpr uint64_t kManifestFormat = 1;

// Of UTF-8.
bool IsTargetName(std::string_view text);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_MANIFEST_FORMAT_H_
