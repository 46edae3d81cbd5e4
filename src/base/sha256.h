// SHA-256, and how digests are written.
#ifndef CRYPTVOL_BASE_SHA256_H_
#define CRYPTVOL_BASE_SHA256_H_

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/c_handle.h"

namespace cryptvol {

using Sha256Digest = std::array<uint8_t, 32>;

// All of them end the process where OpenSSL has no memory, or no SHA-256: such a one cannot do TLS
// or LUKS either.
Sha256Digest Sha256(std::span<const uint8_t> bytes);
Sha256Digest Sha256(std::string_view text);

// Of bytes that come in pieces.
class Sha256Stream {
 public:
  Sha256Stream();
  void Update(std::span<const uint8_t> bytes);
  // Once, in the end.
  Sha256Digest Finish();

 private:
  Handle<EVP_MD_CTX, ::EVP_MD_CTX_free> context_;
};

// Two lower-case digits for each byte.
std::string Hex(std::span<const uint8_t> bytes);

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_SHA256_H_
