#include "age/bech32.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>

#include "absl/cleanup/cleanup.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

constexpr std::string_view kAlphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
constexpr size_t kChecksumDigits = 6;

bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
char ToLower(char c) { return IsUpper(c) ? static_cast<char>(c - 'A' + 'a') : c; }
char ToUpper(char c) { return IsLower(c) ? static_cast<char>(c - 'a' + 'A') : c; }

// The BCH code over 5-bit digits that BIP 173 defines.
class Checksum {
 public:
  explicit Checksum(std::string_view lower_prefix) {
    for (const char c : lower_prefix) Add(static_cast<uint8_t>(c) >> 5);
    Add(0);
    for (const char c : lower_prefix) Add(static_cast<uint8_t>(c) & 31);
  }

  void Add(uint32_t digit) {
    constexpr std::array<uint32_t, 5> kGenerator = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd,
                                                    0x2a1462b3};
    const uint32_t top = state_ >> 25;
    state_ = (state_ & 0x1ffffff) << 5 ^ digit;
    for (size_t i = 0; i < kGenerator.size(); ++i) {
      if ((top >> i & 1) != 0) state_ ^= kGenerator[i];
    }
  }

  bool valid() const { return state_ == 1; }

  // The digits that make it valid.
  std::array<uint8_t, kChecksumDigits> Digits() const {
    Checksum with_zeros = *this;
    for (size_t i = 0; i < kChecksumDigits; ++i) with_zeros.Add(0);
    std::array<uint8_t, kChecksumDigits> digits;
    for (size_t i = 0; i < kChecksumDigits; ++i) {
      digits[i] = (with_zeros.state_ ^ 1) >> 5 * (kChecksumDigits - 1 - i) & 31;
    }
    return digits;
  }

 private:
  uint32_t state_ = 1;
};

// Digits of `from` bits as digits of `to` bits; what is left over is returned in `rest`.
struct Rest {
  uint32_t bits;
  int count;
};
Rest Regroup(std::span<const uint8_t> in, int from, int to, std::vector<uint8_t>& out) {
  out.reserve(in.size() * static_cast<size_t>(from) / static_cast<size_t>(to) + 1);
  uint32_t bits = 0;
  int count = 0;
  for (const uint8_t digit : in) {
    bits = bits << from | digit;
    for (count += from; count >= to; count -= to) {
      out.push_back(static_cast<uint8_t>(bits >> (count - to) & ((1u << to) - 1)));
    }
  }
  return {bits & ((1u << count) - 1), count};
}

std::string Lowered(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), ToLower);
  return lower;
}

absl::Status CheckCharacters(std::string_view text) {
  if (std::ranges::any_of(text, [](char c) { return c < 33 || c > 126; })) {
    return InvalidArgument("a character that no key has");
  }
  if (std::ranges::any_of(text, IsUpper) && std::ranges::any_of(text, IsLower)) {
    return InvalidArgument("upper and lower case are mixed");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint8_t>> DigitsOf(std::string_view text) {
  std::vector<uint8_t> digits;
  digits.reserve(text.size());
  for (const char c : text) {
    const size_t digit = kAlphabet.find(ToLower(c));
    if (digit == std::string_view::npos) return InvalidArgument("a character that no key has");
    digits.push_back(static_cast<uint8_t>(digit));
  }
  return digits;
}

}  // namespace

std::string EncodeBech32(std::string_view prefix, std::span<const uint8_t> data) {
  std::vector<uint8_t> digits;
  const absl::Cleanup wipe = [&digits] { ::OPENSSL_cleanse(digits.data(), digits.size()); };
  const Rest rest = Regroup(data, 8, 5, digits);
  if (rest.count > 0) digits.push_back(static_cast<uint8_t>(rest.bits << (5 - rest.count)));
  Checksum checksum(Lowered(prefix));
  for (const uint8_t digit : digits) checksum.Add(digit);

  const bool upper = std::ranges::any_of(prefix, IsUpper);
  std::string text;
  text.reserve(prefix.size() + 1 + digits.size() + kChecksumDigits);
  text.append(prefix).append("1");
  const auto append = [&text, upper](uint8_t digit) {
    text += upper ? ToUpper(kAlphabet[digit]) : kAlphabet[digit];
  };
  std::ranges::for_each(digits, append);
  std::ranges::for_each(checksum.Digits(), append);
  return text;
}

absl::StatusOr<Bech32> DecodeBech32(std::string_view text) {
  CV_RETURN_IF_ERROR(CheckCharacters(text));
  const size_t separator = text.rfind('1');
  if (separator == std::string_view::npos || separator == 0 ||
      text.size() - separator - 1 < kChecksumDigits) {
    return InvalidArgument("it is cut short, or is no key at all");
  }
  CV_ASSIGN_OR_RETURN(std::vector<uint8_t> digits, DigitsOf(text.substr(separator + 1)));
  const absl::Cleanup wipe = [&digits] { ::OPENSSL_cleanse(digits.data(), digits.size()); };
  Checksum checksum(Lowered(text.substr(0, separator)));
  for (const uint8_t digit : digits) checksum.Add(digit);
  if (!checksum.valid()) {
    return InvalidArgument("its checksum is wrong: a character was changed, added or lost");
  }
  Bech32 result{std::string(text.substr(0, separator)), {}};
  const Rest rest =
      Regroup(std::span(digits).first(digits.size() - kChecksumDigits), 5, 8, result.data);
  if (rest.count >= 5 || rest.bits != 0) {
    ::OPENSSL_cleanse(result.data.data(), result.data.size());
    return InvalidArgument("its encoding is not canonical");
  }
  return result;
}

}  // namespace cryptvol::age
