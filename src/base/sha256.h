// SHA-256, from OpenSSL.
#ifndef CRYPTVOL_BASE_SHA256_H_
#define CRYPTVOL_BASE_SHA256_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cryptvol {

using Sha256Digest = std::array<uint8_t, 32>;

Sha256Digest Sha256(std::span<const uint8_t> bytes);
Sha256Digest Sha256(std::string_view text);

// Lower-case hexadecimal digits, two for each byte.
std::string Hex(std::span<const uint8_t> bytes);

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_SHA256_H_
