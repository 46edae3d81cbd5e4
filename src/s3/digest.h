// The hashes that S3 asks for.
#ifndef CRYPTVOL_S3_DIGEST_H_
#define CRYPTVOL_S3_DIGEST_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cryptvol::s3 {

using Sha256Digest = std::array<uint8_t, 32>;

Sha256Digest Sha256(std::span<const uint8_t> bytes);
Sha256Digest HmacSha256(std::span<const uint8_t> key, std::string_view text);

std::string Hex(std::span<const uint8_t> bytes);  // lower case

// The value of a Content-MD5 header. FAILED_PRECONDITION where OpenSSL is configured without MD5.
absl::StatusOr<std::string> ContentMd5(std::span<const uint8_t> bytes);

inline std::span<const uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_DIGEST_H_
