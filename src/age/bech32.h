// Bech32 (BIP 173) without its limit of 90 characters: how age writes keys.
#ifndef CRYPTVOL_AGE_BECH32_H_
#define CRYPTVOL_AGE_BECH32_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cryptvol::age {

struct Bech32 {
  std::string prefix;         // the human-readable part, in the case in which it stood
  std::vector<uint8_t> data;  // may be a secret key: the caller wipes it
};

// Upper case throughout when the prefix is. The prefix is the caller's constant or was decoded
// before: 1 or more characters from 33 to 126, of one case.
std::string EncodeBech32(std::string_view prefix, std::span<const uint8_t> data);

// INVALID_ARGUMENT, never quoting the text (it may be a secret key), unless it is exactly what
// EncodeBech32 makes.
absl::StatusOr<Bech32> DecodeBech32(std::string_view text);

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_BECH32_H_
