// Files that a passphrase opens.
#ifndef CRYPTVOL_AGE_SCRYPT_H_
#define CRYPTVOL_AGE_SCRYPT_H_

#include <array>
#include <memory>

#include "age/primitives.h"
#include "age/recipient.h"

namespace cryptvol::age {

inline constexpr std::string_view kScryptType = "scrypt";

// What age itself writes: 256 MiB of memory, near a second.
inline constexpr int kDefaultLog2N = 18;
// On reading: 1 GiB. The file chooses the cost, so a stranger could ask for more than there is.
inline constexpr int kDefaultMaxLog2N = 20;

struct ScryptStanza {
  std::array<uint8_t, 16> salt;
  int log2_n;  // 1 to 63
  std::array<uint8_t, kFileKeyBytes + kTagBytes> body;
};
// INVALID_ARGUMENT when a stanza of this type is malformed.
absl::StatusOr<ScryptStanza> ParseScryptStanza(const Stanza& stanza);

// It can be a file's only recipient, and no stanza of any other type may stand beside its own.
class ScryptRecipient : public Recipient {
 public:
  // INVALID_ARGUMENT when the passphrase is empty, or log2_n not from 1 to 30.
  static absl::StatusOr<std::unique_ptr<ScryptRecipient>> New(SecretBytes passphrase,
                                                              int log2_n = kDefaultLog2N);
  absl::StatusOr<WrappedKey> Wrap(const SecretBytes& file_key) override;

 private:
  ScryptRecipient(SecretBytes passphrase, int log2_n)
      : passphrase_(std::move(passphrase)), log2_n_(log2_n) {}
  SecretBytes passphrase_;
  int log2_n_;
};

class ScryptIdentity : public Identity {
 public:
  // INVALID_ARGUMENT when the passphrase is empty.
  static absl::StatusOr<std::unique_ptr<ScryptIdentity>> New(SecretBytes passphrase,
                                                             int max_log2_n = kDefaultMaxLog2N);
  // INVALID_ARGUMENT when the file asks for more than max_log2_n; RESOURCE_EXHAUSTED when there is
  // not that much memory.
  absl::StatusOr<std::optional<SecretBytes>> Unwrap(std::span<const Stanza> stanzas) override;

 private:
  ScryptIdentity(SecretBytes passphrase, int max_log2_n)
      : passphrase_(std::move(passphrase)), max_log2_n_(max_log2_n) {}
  SecretBytes passphrase_;
  int max_log2_n_;
};

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_SCRYPT_H_
