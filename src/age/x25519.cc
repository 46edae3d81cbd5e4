#include "age/x25519.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "age/base64.h"
#include "age/bech32.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

constexpr std::string_view kInfo = "age-encryption.org/v1/X25519";
constexpr std::string_view kRecipientPrefix = "age";
constexpr std::string_view kIdentityPrefix = "AGE-SECRET-KEY-";
// Each key that wraps is used once.
constexpr AeadNonce kZeroNonce = {};

absl::StatusOr<Aead> WrapCipher(const SecretBytes& shared, const PublicKey& share,
                                const PublicKey& recipient) {
  std::array<uint8_t, 2 * kKeyBytes> salt;
  std::ranges::copy(recipient, std::ranges::copy(share, salt.begin()).out);
  CV_ASSIGN_OR_RETURN(const SecretBytes key, HkdfSha256(shared.span(), salt, kInfo));
  return Aead::New(key.span());
}

}  // namespace

absl::StatusOr<X25519Stanza> ParseX25519Stanza(const Stanza& stanza) {
  X25519Stanza parsed;
  if (stanza.args.size() != 1) {
    return InvalidArgument("an X25519 stanza has {} arguments beside its type, not 1",
                           stanza.args.size());
  }
  const auto share = DecodeBase64(stanza.args[0]);
  if (!share || share->size() != parsed.share.size()) {
    return InvalidArgument("an X25519 stanza's share is not {} bytes in canonical base64",
                           parsed.share.size());
  }
  if (stanza.body.size() != parsed.body.size()) {
    return InvalidArgument("an X25519 stanza's body has {} bytes, not {}", stanza.body.size(),
                           parsed.body.size());
  }
  std::ranges::copy(*share, parsed.share.begin());
  std::ranges::copy(stanza.body, parsed.body.begin());
  return parsed;
}

absl::StatusOr<std::unique_ptr<X25519Recipient>> X25519Recipient::Parse(std::string_view text) {
  CV_ASSIGN_OR_RETURN(const Bech32 decoded, DecodeBech32(text));
  PublicKey key;
  if (decoded.prefix != kRecipientPrefix || decoded.data.size() != key.size()) {
    return InvalidArgument("not an age recipient (age1...)");
  }
  std::ranges::copy(decoded.data, key.begin());
  return std::make_unique<X25519Recipient>(key);
}

std::string X25519Recipient::text() const { return EncodeBech32(kRecipientPrefix, key_); }

absl::StatusOr<WrappedKey> X25519Recipient::Wrap(const SecretBytes& file_key) {
  CV_ASSIGN_OR_RETURN(const SecretBytes ephemeral, RandomSecret(kKeyBytes));
  CV_ASSIGN_OR_RETURN(const PublicKey share, X25519Public(ephemeral));
  CV_ASSIGN_OR_RETURN(const SecretBytes shared, X25519Shared(ephemeral, key_));
  CV_ASSIGN_OR_RETURN(Aead cipher, WrapCipher(shared, share, key_));
  Stanza stanza{std::string(kX25519Type), {EncodeBase64(share)}, {}};
  stanza.body.resize(file_key.size() + kTagBytes);
  CV_RETURN_IF_ERROR(cipher.Seal(kZeroNonce, file_key.span(), stanza.body));
  return WrappedKey{{std::move(stanza)}, {}};
}

absl::StatusOr<std::unique_ptr<X25519Identity>> X25519Identity::FromSecret(SecretBytes secret) {
  CV_ASSIGN_OR_RETURN(const PublicKey public_key, X25519Public(secret));
  return std::unique_ptr<X25519Identity>(new X25519Identity(std::move(secret), public_key));
}

absl::StatusOr<std::unique_ptr<X25519Identity>> X25519Identity::Generate() {
  CV_ASSIGN_OR_RETURN(SecretBytes secret, RandomSecret(kKeyBytes));
  return FromSecret(std::move(secret));
}

absl::StatusOr<std::unique_ptr<X25519Identity>> X25519Identity::Parse(std::string_view text) {
  CV_ASSIGN_OR_RETURN(Bech32 decoded, DecodeBech32(text));
  const absl::Cleanup wipe = [&decoded] {
    ::OPENSSL_cleanse(decoded.data.data(), decoded.data.size());
  };
  if (decoded.prefix != kIdentityPrefix || decoded.data.size() != kKeyBytes) {
    return InvalidArgument("not an age identity (AGE-SECRET-KEY-1...)");
  }
  CV_ASSIGN_OR_RETURN(SecretBytes secret, SecretBytes::CopyOf(decoded.data));
  return FromSecret(std::move(secret));
}

absl::StatusOr<SecretBytes> X25519Identity::text() const {
  std::string text = EncodeBech32(kIdentityPrefix, secret_.span());
  const absl::Cleanup wipe = [&text] { WipeString(text); };
  return SecretBytes::CopyOf(text);
}

absl::StatusOr<std::optional<SecretBytes>> X25519Identity::Unwrap(std::span<const Stanza> stanzas) {
  CV_ASSIGN_OR_RETURN(SecretBytes file_key, SecretBytes::Allocate(kFileKeyBytes));
  for (const Stanza& stanza : stanzas) {
    if (stanza.type != kX25519Type) continue;
    CV_ASSIGN_OR_RETURN(const X25519Stanza parsed, ParseX25519Stanza(stanza));
    CV_ASSIGN_OR_RETURN(const SecretBytes shared, X25519Shared(secret_, parsed.share));
    CV_ASSIGN_OR_RETURN(Aead cipher, WrapCipher(shared, parsed.share, public_key_));
    const absl::Status opened = cipher.Open(kZeroNonce, parsed.body, file_key.span());
    if (opened.ok()) return file_key;
    if (!absl::IsDataLoss(opened)) return opened;
  }
  return std::nullopt;
}

}  // namespace cryptvol::age
