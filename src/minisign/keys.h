// minisign's keys: Ed25519, with a number to tell them apart. Stock minisign reads what is written
// here.
#ifndef CRYPTVOL_MINISIGN_KEYS_H_
#define CRYPTVOL_MINISIGN_KEYS_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/secret_bytes.h"

namespace cryptvol::minisign {

// Random, not signed, and not derived from the key: it finds a key, and proves nothing.
using KeyId = std::array<uint8_t, 8>;

// As minisign prints it: 16 hexadecimal digits.
std::string KeyIdText(const KeyId& id);

struct PublicKey {
  KeyId id = {};
  std::array<uint8_t, 32> key = {};

  bool operator==(const PublicKey&) const = default;
};

struct SecretKey {
  KeyId id = {};
  SecretBytes seed;  // 32 bytes
  PublicKey public_key;
};

absl::StatusOr<SecretKey> GenerateKey();

// A key file's content, or its second line alone (as after `minisign -P`). INVALID_ARGUMENT for
// anything else.
absl::StatusOr<PublicKey> ParsePublicKey(std::string_view text);
std::string SerializePublicKey(const PublicKey& key);

// Memory and work that an encrypted key file may ask for: what minisign itself writes.
inline constexpr uint64_t kMaxKdfMemory = uint64_t{1} << 30;
inline constexpr uint64_t kMaxKdfOperations = uint64_t{1} << 25;

// A secret key file's content. Never quotes it.
//  INVALID_ARGUMENT     malformed, of another algorithm, or with a KDF above the bounds
//  FAILED_PRECONDITION  it is encrypted, and `passphrase` is null
//  UNAUTHENTICATED      the passphrase is wrong
//  DATA_LOSS            an unencrypted one whose parts do not fit together
absl::StatusOr<SecretKey> ParseSecretKey(std::string_view text,
                                         const SecretBytes* passphrase = nullptr);

// Unencrypted (`minisign -W`), as a job that signs by itself needs it.
absl::StatusOr<SecretBytes> SerializeSecretKey(const SecretKey& key);

}  // namespace cryptvol::minisign

#endif  // CRYPTVOL_MINISIGN_KEYS_H_
