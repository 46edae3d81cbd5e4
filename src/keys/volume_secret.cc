#include "keys/volume_secret.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "base/decimal.h"
#include "base/random.h"
#include "base/status.h"
#include "fmt/ranges.h"

// No message here repeats a value: a passphrase may stand under the wrong name.
namespace cryptvol::keys {
namespace {

using Secrets = std::map<std::string, std::string>;

// Where drivers expect the passphrase. Names as general as "key" or "passphrase", which a few
// others use, are left out: in a Secret that serves several purposes they may well mean something
// else.
constexpr std::array<std::string_view, 5> kPassphraseNames = {
    "CRYPTO_KEY_VALUE",       // Longhorn, and ours
    "encryption-passphrase",  // Hetzner
    "encryptionPassphrase",   // Scaleway, Ceph-CSI
    "luksKey",                // cloudscale, Linode
    "luks-passphrase",        // Trident
};
constexpr std::string_view kTridentPassphrase = "luks-passphrase";
constexpr std::string_view kTridentPrevious = "previous-luks-passphrase";
constexpr std::string_view kPreviousName = "CRYPTO_KEY_PREVIOUS_VALUE";

// A LUKS2 header has 32 keyslots: one is the current passphrase's, one stays free for changing it.
constexpr size_t kMaxPrevious = 30;

// 256 random bits as they are. In base64 or hexadecimal digits the same length still holds 192 or
// 128 bits, which nobody guesses either.
constexpr size_t kMinRandomBytes = 32;

constexpr size_t kMaxKeyIdBytes = 128;

const std::string* Find(const Secrets& secrets, std::string_view name) {
  const auto found = secrets.find(std::string(name));
  return found == secrets.end() ? nullptr : &found->second;
}

// A value that is not a key, without the newline that `echo` leaves. Empty counts as absent, as
// Longhorn has it.
std::optional<std::string> Setting(const Secrets& secrets, std::string_view name) {
  const std::string* value = Find(secrets, name);
  if (value == nullptr) return std::nullopt;
  std::string_view text = *value;
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (text.empty()) return std::nullopt;
  return std::string(text);
}

absl::Status CheckProvider(const Secrets& secrets) {
  const auto provider = Setting(secrets, "CRYPTO_KEY_PROVIDER");
  if (!provider || *provider == "secret") return absl::OkStatus();
  return InvalidArgument(
      "read the Secret: CRYPTO_KEY_PROVIDER is not a provider that is known; leave it out or set "
      "it to \"secret\"");
}

absl::StatusOr<Passphrase> ReadPassphrase(const Secrets& secrets, std::string_view name) {
  const std::string& value = *Find(secrets, name);
  if (value.empty()) {
    return InvalidArgument("read the Secret: {} is empty; put the passphrase there, or remove it",
                           name);
  }
  if (value.size() > kMaxPassphraseBytes) {
    return InvalidArgument("read the Secret: {} has {} bytes; a passphrase has at most {}", name,
                           value.size(), kMaxPassphraseBytes);
  }
  CV_ASSIGN_OR_RETURN(SecretBytes bytes, SecretBytes::CopyOf(value));
  return Passphrase{std::string(name), std::move(bytes)};
}

absl::StatusOr<Passphrase> ReadCurrent(const Secrets& secrets) {
  std::vector<std::string_view> present;
  for (std::string_view name : kPassphraseNames) {
    if (Find(secrets, name) != nullptr) present.push_back(name);
  }
  if (present.empty()) {
    return InvalidArgument("read the Secret: it has no passphrase; put one under CRYPTO_KEY_VALUE");
  }
  if (present.size() > 1) {
    return InvalidArgument(
        "read the Secret: it has passphrases under the names of several drivers ({}); keep one",
        fmt::join(present, ", "));
  }
  return ReadPassphrase(secrets, present.front());
}

// The number in CRYPTO_KEY_PREVIOUS_VALUE_2; 0 for the name without one.
absl::StatusOr<uint32_t> PreviousNumber(std::string_view name) {
  const std::string_view suffix = name.substr(kPreviousName.size());
  if (suffix.empty()) return 0;
  const auto number = ParseDecimal(suffix.substr(1));
  if (suffix.front() != '_' || !number || suffix[1] == '0') {
    return InvalidArgument(
        "read the Secret: {} is not a name of a previous passphrase; those are {}, {}_2, {}_3 and "
        "so on",
        name, kPreviousName, kPreviousName, kPreviousName);
  }
  return *number;
}

// The names of previous passphrases in the order in which they are tried.
absl::StatusOr<std::vector<std::string>> PreviousNames(const Secrets& secrets) {
  std::map<uint32_t, std::string> numbered;
  for (const auto& [name, value] : secrets) {
    if (!name.starts_with(kPreviousName)) continue;
    CV_ASSIGN_OR_RETURN(const uint32_t number, PreviousNumber(name));
    numbered.emplace(number, name);
  }
  std::vector<std::string> names;
  for (auto& [number, name] : numbered) names.push_back(std::move(name));
  if (Find(secrets, kTridentPrevious) != nullptr) {
    if (Find(secrets, kTridentPassphrase) == nullptr) {
      return InvalidArgument(
          "read the Secret: it has {} without {}; a previous passphrase beside {} is named {}",
          kTridentPrevious, kTridentPassphrase, kPassphraseNames.front(), kPreviousName);
    }
    names.emplace_back(kTridentPrevious);
  }
  return names;
}

absl::StatusOr<std::vector<Passphrase>> ReadPrevious(const Secrets& secrets) {
  CV_ASSIGN_OR_RETURN(const std::vector<std::string> names, PreviousNames(secrets));
  if (names.size() > kMaxPrevious) {
    return InvalidArgument(
        "read the Secret: it has {} previous passphrases; a LUKS header has room for {}: remove "
        "those that no volume uses any more",
        names.size(), kMaxPrevious);
  }
  std::vector<Passphrase> previous;
  for (const std::string& name : names) {
    CV_ASSIGN_OR_RETURN(Passphrase passphrase, ReadPassphrase(secrets, name));
    previous.push_back(std::move(passphrase));
  }
  return previous;
}

absl::StatusOr<bool> ReadRandom(const Secrets& secrets, const Passphrase& current) {
  const auto format = Setting(secrets, "CRYPTO_KEY_FORMAT");
  if (!format || *format == "passphrase") return false;
  if (*format != "random") {
    return InvalidArgument(
        "read the Secret: CRYPTO_KEY_FORMAT is neither \"passphrase\" nor \"random\"");
  }
  if (current.bytes.size() < kMinRandomBytes) {
    return InvalidArgument(
        "read the Secret: CRYPTO_KEY_FORMAT is \"random\", but {} has {} bytes; a random key has "
        "at least {} (256 random bits are 64 hexadecimal digits): make one with `cryptvol-csi "
        "keygen`, or leave CRYPTO_KEY_FORMAT out",
        current.secret_key, current.bytes.size(), kMinRandomBytes);
  }
  return true;
}

absl::StatusOr<std::string> ReadKeyId(const Secrets& secrets, std::string_view passphrase_name) {
  const std::string_view name =
      passphrase_name == kTridentPassphrase && Find(secrets, "CRYPTO_KEY_ID") == nullptr
          ? "luks-passphrase-name"
          : "CRYPTO_KEY_ID";
  const std::string id = Setting(secrets, name).value_or("");
  const auto printable = [](char c) { return c >= ' ' && c <= '~'; };
  if (id.size() > kMaxKeyIdBytes || !std::ranges::all_of(id, printable)) {
    return InvalidArgument(
        "read the Secret: {} is not a key's name of 1 to {} printable characters", name,
        kMaxKeyIdBytes);
  }
  return id;
}

absl::Status ReadNumber(const Secrets& secrets, std::string_view name,
                        std::optional<uint32_t>& out) {
  const auto text = Setting(secrets, name);
  if (!text) return absl::OkStatus();
  out = ParseDecimal(*text);
  if (out) return absl::OkStatus();
  return InvalidArgument("read the Secret: {} is not a decimal number up to {}", name, UINT32_MAX);
}

absl::StatusOr<luks::FormatOverrides> ReadFormat(const Secrets& secrets) {
  luks::FormatOverrides format;
  format.cipher = Setting(secrets, "CRYPTO_KEY_CIPHER");
  format.hash = Setting(secrets, "CRYPTO_KEY_HASH");
  format.pbkdf = Setting(secrets, "CRYPTO_PBKDF");
  CV_RETURN_IF_ERROR(ReadNumber(secrets, "CRYPTO_KEY_SIZE", format.key_bits));
  CV_RETURN_IF_ERROR(ReadNumber(secrets, "CRYPTO_PBKDF_FORCE_ITERATIONS", format.pbkdf_iterations));
  CV_RETURN_IF_ERROR(ReadNumber(secrets, "CRYPTO_PBKDF_MEMORY", format.pbkdf_memory_kib));
  return format;
}

}  // namespace

absl::StatusOr<VolumeSecret> ParseVolumeSecret(Secrets& secrets) {
  const absl::Cleanup wipe = [&secrets] { WipeSecrets(secrets); };
  CV_RETURN_IF_ERROR(CheckProvider(secrets));
  VolumeSecret result;
  CV_ASSIGN_OR_RETURN(result.current, ReadCurrent(secrets));
  CV_ASSIGN_OR_RETURN(result.previous, ReadPrevious(secrets));
  CV_ASSIGN_OR_RETURN(result.random, ReadRandom(secrets, result.current));
  CV_ASSIGN_OR_RETURN(result.key_id, ReadKeyId(secrets, result.current.secret_key));
  CV_ASSIGN_OR_RETURN(result.format, ReadFormat(secrets));
  return result;
}

void WipeSecrets(Secrets& secrets) {
  for (auto& [name, value] : secrets) WipeString(value);
}

absl::StatusOr<SecretBytes> GeneratePassphrase() {
  CV_ASSIGN_OR_RETURN(const SecretBytes random, RandomSecret(32));
  CV_ASSIGN_OR_RETURN(SecretBytes digits, SecretBytes::Allocate(2 * random.size()));
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (size_t i = 0; i < random.size(); ++i) {
    digits.data()[2 * i] = static_cast<uint8_t>(kDigits[random.data()[i] >> 4]);
    digits.data()[2 * i + 1] = static_cast<uint8_t>(kDigits[random.data()[i] & 0xf]);
  }
  return digits;
}

}  // namespace cryptvol::keys
