// The hashes that S3 asks for.
#ifndef CRYPTVOL_S3_DIGEST_H_
#define CRYPTVOL_S3_DIGEST_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/bytes.h"
#include "base/sha256.h"

namespace cryptvol::s3 {

Sha256Digest HmacSha256(std::span<const uint8_t> key, std::string_view text);

// The value of a Content-MD5 header. FAILED_PRECONDITION where OpenSSL is configured without MD5.
absl::StatusOr<std::string> ContentMd5(std::span<const uint8_t> bytes);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_DIGEST_H_
