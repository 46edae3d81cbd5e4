// What a Kubernetes Secret says about a volume's key. docs/secrets.md is the reference for users.
#ifndef CRYPTVOL_KEYS_VOLUME_SECRET_H_
#define CRYPTVOL_KEYS_VOLUME_SECRET_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/secret_bytes.h"
#include "luks/format_parameters.h"

namespace cryptvol::keys {

// One passphrase: the secret's bytes as they are, a trailing newline included (as cryptsetup's key
// file).
struct Passphrase {
  std::string secret_key;  // the name under which it stood in the Secret, for messages
  SecretBytes bytes;
};

struct VolumeSecret {
  Passphrase current;
  std::vector<Passphrase> previous;  // opens too, while keys are being changed
  bool random = false;               // CRYPTO_KEY_FORMAT=random: no stretching is needed
  std::string key_id;                // CRYPTO_KEY_ID, or Trident's luks-passphrase-name
  luks::FormatOverrides format;
};

inline constexpr size_t kMaxPassphraseBytes = size_t{8} << 20;

// Reads Longhorn's names (CRYPTO_KEY_VALUE and so on) and those of other drivers. The values of the
// map that hold passphrases are wiped, whatever the outcome. Unknown names are ignored: a Secret
// may serve others too. INVALID_ARGUMENT, naming the Secret's key but never a passphrase, when no
// passphrase is there, it is empty or over 8 MiB, passphrases stand under the names of two drivers
// at once, the provider is not "secret", or a number is not one.
absl::StatusOr<VolumeSecret> ParseVolumeSecret(std::map<std::string, std::string>& secrets);

// Overwrites every value of the map.
void WipeSecrets(std::map<std::string, std::string>& secrets);

// A new passphrase: 256 random bits from the kernel, as 64 hexadecimal digits.
absl::StatusOr<SecretBytes> GeneratePassphrase();

}  // namespace cryptvol::keys

#endif  // CRYPTVOL_KEYS_VOLUME_SECRET_H_
