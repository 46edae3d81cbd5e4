#include "luks/algorithms.h"

#include <algorithm>
#include <array>

#include "fmt/format.h"

namespace cryptvol::luks {
namespace {

using std::string_view_literals::operator""sv;

// XTS uses two keys of the cipher: AES-128 and AES-256.
constexpr std::array<uint32_t, 2> kXtsKeys = {32, 64};
constexpr std::array<uint32_t, 3> kCbcKeys = {16, 24, 32};
constexpr std::array<uint32_t, 1> kAdiantumKeys = {32};

constexpr std::array kBlockCiphers = {"aes"sv, "serpent"sv, "twofish"sv, "camellia"sv};
constexpr std::array kAdiantumCiphers = {"xchacha12,aes"sv, "xchacha20,aes"sv};
constexpr std::string_view kOldXts = "xts-plain";

constexpr std::array kHashes = {"sha1"sv,       "sha224"sv,    "sha256"sv,    "sha384"sv,
                                "sha512"sv,     "sha3-224"sv,  "sha3-256"sv,  "sha3-384"sv,
                                "sha3-512"sv,   "ripemd160"sv, "whirlpool"sv, "blake2b-512"sv,
                                "blake2s-256"sv};

struct SplitCipher {
  std::string_view name;
  std::string_view mode;
};

SplitCipher Split(std::string_view cipher) {
  const size_t dash = cipher.find('-');
  if (dash == std::string_view::npos) return {cipher, {}};
  return {cipher.substr(0, dash), cipher.substr(dash + 1)};
}

bool Contains(const auto& list, std::string_view name) {
  return std::ranges::find(list, name) != list.end();
}

}  // namespace

std::span<const uint32_t> KeySizes(std::string_view cipher) {
  const auto [name, mode] = Split(cipher);
  if (Contains(kAdiantumCiphers, name) && mode == "adiantum-plain64") return kAdiantumKeys;
  if (!Contains(kBlockCiphers, name)) return {};
  if (mode == "xts-plain64" || mode == kOldXts) return kXtsKeys;
  if (mode == "cbc-essiv:sha256") return kCbcKeys;
  return {};
}

bool IsForNewVolumes(std::string_view cipher) {
  return !KeySizes(cipher).empty() && Split(cipher).mode != kOldXts;
}

bool IsKnownHash(std::string_view hash) { return Contains(kHashes, hash); }

std::string CiphersForNewVolumes() {
  return fmt::format("{} with -xts-plain64 or -cbc-essiv:sha256; {} with -adiantum-plain64",
                     fmt::join(kBlockCiphers, ", "), fmt::join(kAdiantumCiphers, " and "));
}

}  // namespace cryptvol::luks
