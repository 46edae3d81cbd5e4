// The LUKS2 token of type "cryptvol": what a volume says of itself. docs/on-disk-format.md defines
// it.
//
// Tokens are not authenticated. They are hints against the word of the kernel and of the backend,
// and foreign input when read.
#ifndef CRYPTVOL_LUKS_TOKEN_H_
#define CRYPTVOL_LUKS_TOKEN_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "luks/header.h"

namespace cryptvol::luks {

inline constexpr std::string_view kTokenType = "cryptvol";

enum class VolumeState { kFormatting, kReady };

struct VolumeToken {
  std::string volume_id;   // 1 to 256 bytes
  std::string filesystem;  // "ext4", "xfs", "btrfs"; empty for a block volume
  std::string
      filesystem_uuid;  // planned before mkfs; empty for a block volume, and where there is none
  VolumeState state = VolumeState::kFormatting;
  std::string key_id;  // the user's CRYPTO_KEY_ID; may be empty
};

std::string SerializeToken(const VolumeToken& token);

// INVALID_ARGUMENT for what is not such a token, is too long, or has the wrong types.
absl::StatusOr<VolumeToken> ParseToken(std::string_view json);

// INVALID_ARGUMENT for one that ParseToken would refuse: a header that has it is of no more use.
absl::Status CheckReadable(const VolumeToken& token);

struct FoundToken {
  int id = 0;
  VolumeToken token;
};
// The header's cryptvol token; nullopt when there is none; FAILED_PRECONDITION when there are
// several, or one that does not parse.
absl::StatusOr<std::optional<FoundToken>> FindToken(const Header& header);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_TOKEN_H_
