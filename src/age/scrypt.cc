#include "age/scrypt.h"

#include <algorithm>

#include "age/base64.h"
#include "base/decimal.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

constexpr std::string_view kSaltLabel = "age-encryption.org/v1/scrypt";
constexpr AeadNonce kZeroNonce = {};

absl::StatusOr<Aead> WrapCipher(const SecretBytes& passphrase, Bytes salt, int log2_n) {
  std::string labelled(kSaltLabel);
  labelled.append(AsText(salt));
  CV_ASSIGN_OR_RETURN(SecretBytes key, SecretBytes::Allocate(kKeyBytes));
  const ScryptCost cost = {.n = uint64_t{1} << log2_n};
  CV_RETURN_IF_ERROR(Scrypt(passphrase.span(), AsBytes(labelled), cost, key.span()));
  return Aead::New(key.span());
}

// Decimal without a leading zero. 64 and more cannot even be written as a number N.
std::optional<int> ParseLog2N(std::string_view text) {
  const auto value = ParseDecimal(text);
  if (!value || text.starts_with('0') || *value > 63) return std::nullopt;
  return static_cast<int>(*value);
}

absl::Status CheckPassphrase(const SecretBytes& passphrase) {
  if (passphrase.empty()) return InvalidArgument("the passphrase is empty");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ScryptStanza> ParseScryptStanza(const Stanza& stanza) {
  ScryptStanza parsed;
  if (stanza.args.size() != 2) {
    return InvalidArgument("a scrypt stanza has {} arguments beside its type, not 2",
                           stanza.args.size());
  }
  const auto salt = DecodeBase64(stanza.args[0]);
  if (!salt || salt->size() != parsed.salt.size()) {
    return InvalidArgument("a scrypt stanza's salt is not {} bytes in canonical base64",
                           parsed.salt.size());
  }
  const auto log2_n = ParseLog2N(stanza.args[1]);
  if (!log2_n) return InvalidArgument("a scrypt stanza's work factor is no decimal from 1 to 63");
  if (stanza.body.size() != parsed.body.size()) {
    return InvalidArgument("a scrypt stanza's body has {} bytes, not {}", stanza.body.size(),
                           parsed.body.size());
  }
  std::ranges::copy(*salt, parsed.salt.begin());
  parsed.log2_n = *log2_n;
  std::ranges::copy(stanza.body, parsed.body.begin());
  return parsed;
}

absl::StatusOr<std::unique_ptr<ScryptRecipient>> ScryptRecipient::New(SecretBytes passphrase,
                                                                      int log2_n) {
  CV_RETURN_IF_ERROR(CheckPassphrase(passphrase));
  if (log2_n < 1 || log2_n > 30) {
    return InvalidArgument("a scrypt work factor of {}: it goes from 1 to 30", log2_n);
  }
  return std::unique_ptr<ScryptRecipient>(new ScryptRecipient(std::move(passphrase), log2_n));
}

absl::StatusOr<WrappedKey> ScryptRecipient::Wrap(const SecretBytes& file_key) {
  std::array<uint8_t, 16> salt;
  std::array<uint8_t, 16> label;
  CV_RETURN_IF_ERROR(FillRandom(salt));
  CV_RETURN_IF_ERROR(FillRandom(label));
  CV_ASSIGN_OR_RETURN(Aead cipher, WrapCipher(passphrase_, salt, log2_n_));
  Stanza stanza{std::string(kScryptType), {EncodeBase64(salt), fmt::format("{}", log2_n_)}, {}};
  stanza.body.resize(file_key.size() + kTagBytes);
  CV_RETURN_IF_ERROR(cipher.Seal(kZeroNonce, file_key.span(), stanza.body));
  return WrappedKey{{std::move(stanza)}, {EncodeBase64(label)}};
}

absl::StatusOr<std::unique_ptr<ScryptIdentity>> ScryptIdentity::New(SecretBytes passphrase,
                                                                    int max_log2_n) {
  CV_RETURN_IF_ERROR(CheckPassphrase(passphrase));
  return std::unique_ptr<ScryptIdentity>(new ScryptIdentity(std::move(passphrase), max_log2_n));
}

absl::StatusOr<std::optional<SecretBytes>> ScryptIdentity::Unwrap(std::span<const Stanza> stanzas) {
  // CheckStanzas has seen to it that a scrypt stanza is the only one.
  if (stanzas.front().type != kScryptType) return std::nullopt;
  CV_ASSIGN_OR_RETURN(const ScryptStanza parsed, ParseScryptStanza(stanzas.front()));
  if (parsed.log2_n > max_log2_n_) {
    return InvalidArgument(
        "the file asks for a scrypt work factor of {}, which takes 2^{} KiB of memory; up to {} is "
        "accepted",
        parsed.log2_n, parsed.log2_n, max_log2_n_);
  }
  CV_ASSIGN_OR_RETURN(Aead cipher, WrapCipher(passphrase_, parsed.salt, parsed.log2_n));
  CV_ASSIGN_OR_RETURN(SecretBytes file_key, SecretBytes::Allocate(kFileKeyBytes));
  const absl::Status opened = cipher.Open(kZeroNonce, parsed.body, file_key.span());
  if (absl::IsDataLoss(opened)) return std::nullopt;
  CV_RETURN_IF_ERROR(opened);
  return file_key;
}

}  // namespace cryptvol::age
