// Base64 of the standard alphabet (RFC 4648, section 4), accepted in its canonical form only: no
// white space, no missing or superfluous padding, no bits behind the last byte.
#ifndef CRYPTVOL_AGE_BASE64_H_
#define CRYPTVOL_AGE_BASE64_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cryptvol::age {

// Without '=', as in age's stanzas.
std::string EncodeBase64(std::span<const uint8_t> bytes);
std::optional<std::vector<uint8_t>> DecodeBase64(std::string_view text);

// With '=', as in armor and minisign.
std::string EncodePaddedBase64(std::span<const uint8_t> bytes);
std::optional<std::vector<uint8_t>> DecodePaddedBase64(std::string_view text);

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_BASE64_H_
