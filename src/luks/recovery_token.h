// The LUKS2 token of type "cryptvol-recovery": the passphrase of one keyslot, encrypted to age
// recipients. docs/on-disk-format.md defines it.
//
// Like every token it is foreign input when read, and a hint: that it opens the volume is shown by
// opening it.
#ifndef CRYPTVOL_LUKS_RECOVERY_TOKEN_H_
#define CRYPTVOL_LUKS_RECOVERY_TOKEN_H_

#include <string>
#include <string_view>
#include <vector>

#include "luks/header.h"

namespace cryptvol::luks {

inline constexpr std::string_view kRecoveryTokenType = "cryptvol-recovery";

// Two such tokens, while recipients are being replaced, and a dozen keyslots fit into the 12 KiB that
// a header has for its metadata.
inline constexpr size_t kMaxRecoveryRecipients = 16;

struct RecoveryToken {
  int id = 0;            // of the token
  int keyslot = 0;       // that it opens
  std::string age_file;  // armored
};

// Iterations of PBKDF2 in a recovery keyslot. Its passphrase is random, so a few do; not the least that
// LUKS allows, which random keys of Secrets have, so that it can be told from theirs.
inline constexpr uint32_t kRecoveryIterations = 1021;

// The JSON of one for that keyslot; its id is the header's to give.
std::string SerializeRecoveryToken(int keyslot, const std::string& age_file);

// Of one whose keyslot is still to be made: LUKS2 lets a token name only what is there. Stored first,
// so that a keyslot that was made before a crash has its passphrase beside it.
std::string SerializePlannedRecoveryToken(int keyslot, const std::string& age_file);

// Those that are well-formed and whose keyslot is there, by id; a planned one's when it is of the kind
// that was planned. Two are there when a change of recipients was cut short.
std::vector<RecoveryToken> FindRecoveryTokens(const Header& header);

// The ids of those without a keyslot: a change of recipients was cut short before it had made the
// keyslot, or after it had destroyed it. They open nothing, and take room.
std::vector<int> FindLeftoverRecoveryTokens(const Header& header);

// Whether one of them is for this keyslot.
bool IsRecoveryKeyslot(const std::vector<RecoveryToken>& tokens, int keyslot);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_RECOVERY_TOKEN_H_
