#include "s3/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <cstdlib>

#include "base/status.h"

namespace cryptvol::s3 {
namespace {

constexpr size_t kMd5Bytes = 16;
constexpr size_t kMd5Base64Bytes = 24;

// SHA-256 fails only for want of memory, or in an OpenSSL that cannot do TLS either.
void Require(bool done) {
  if (!done) std::abort();
}

}  // namespace

Sha256Digest HmacSha256(std::span<const uint8_t> key, std::string_view text) {
  Sha256Digest digest;
  const std::span<const uint8_t> data = AsBytes(text);
  Require(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data.data(), data.size(),
               digest.data(), nullptr) != nullptr);
  return digest;
}

absl::StatusOr<std::string> ContentMd5(std::span<const uint8_t> bytes) {
  std::array<uint8_t, kMd5Bytes> digest;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_md5(), nullptr) != 1) {
    return FailedPrecondition(
        "compute a Content-MD5: OpenSSL refuses MD5 here (FIPS mode?); turn the option off");
  }
  std::array<uint8_t, kMd5Base64Bytes + 1> text;
  EVP_EncodeBlock(text.data(), digest.data(), kMd5Bytes);
  return std::string(text.begin(), text.begin() + kMd5Base64Bytes);
}

}  // namespace cryptvol::s3
