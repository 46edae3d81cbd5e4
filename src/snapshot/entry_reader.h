// One entry of a chain, by itself.
#ifndef CRYPTVOL_SNAPSHOT_ENTRY_READER_H_
#define CRYPTVOL_SNAPSHOT_ENTRY_READER_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "minisign/keys.h"
#include "snapshot/catalog.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot {

inline constexpr size_t kMaxSignatureBytes = 8192;

// Reads manifest and signature of `entry`, whose writer and sequence are set, and whose state is
// kIncomplete when it has no signature. Sets the rest, but for what other files say. Without a key
// no signature is looked at. When the manifest has gone meanwhile, its digest stays empty. Errors
// are the target's.
absl::Status ReadEntry(Target& target, const minisign::PublicKey* key,
                       const std::string& written_to, Entry& entry);

// OK when the signature is the key's over this manifest. UNAUTHENTICATED, INVALID_ARGUMENT.
absl::Status CheckSignature(const minisign::PublicKey& key, std::string_view manifest,
                            std::string_view signature);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_ENTRY_READER_H_
