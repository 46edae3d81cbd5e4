// age's native keys: recipients `age1...` and identities `AGE-SECRET-KEY-1...`.
#ifndef CRYPTVOL_AGE_X25519_H_
#define CRYPTVOL_AGE_X25519_H_

#include <memory>
#include <string>
#include <string_view>

#include "age/primitives.h"
#include "age/recipient.h"

namespace cryptvol::age {

inline constexpr std::string_view kX25519Type = "X25519";

struct X25519Stanza {
  PublicKey share;
  std::array<uint8_t, kFileKeyBytes + kTagBytes> body;
};
// INVALID_ARGUMENT when a stanza of this type is malformed. Sizes are checked here, before any key
// is tried: otherwise an answer for many keys at once could be drawn from one file.
absl::StatusOr<X25519Stanza> ParseX25519Stanza(const Stanza& stanza);

class X25519Recipient : public Recipient {
 public:
  // "age1...", lower case. INVALID_ARGUMENT, without the text, for anything else.
  static absl::StatusOr<std::unique_ptr<X25519Recipient>> Parse(std::string_view text);
  explicit X25519Recipient(const PublicKey& key) : key_(key) {}

  absl::StatusOr<WrappedKey> Wrap(const SecretBytes& file_key) override;
  std::string text() const;

 private:
  PublicKey key_;
};

class X25519Identity : public Identity {
 public:
  static absl::StatusOr<std::unique_ptr<X25519Identity>> Generate();
  // "AGE-SECRET-KEY-1...", upper case. INVALID_ARGUMENT, without the text, for anything else.
  static absl::StatusOr<std::unique_ptr<X25519Identity>> Parse(std::string_view text);

  absl::StatusOr<std::optional<SecretBytes>> Unwrap(std::span<const Stanza> stanzas) override;
  X25519Recipient recipient() const { return X25519Recipient(public_key_); }
  // The secret's text, for a key file.
  absl::StatusOr<SecretBytes> text() const;

 private:
  X25519Identity(SecretBytes secret, const PublicKey& public_key)
      : secret_(std::move(secret)), public_key_(public_key) {}
  static absl::StatusOr<std::unique_ptr<X25519Identity>> FromSecret(SecretBytes secret);

  SecretBytes secret_;
  PublicKey public_key_;
};

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_X25519_H_
