#include "base/sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/sha.h>

namespace cryptvol {

Sha256Digest Sha256(std::span<const uint8_t> bytes) {
  Sha256Digest digest;
  ::SHA256(bytes.data(), bytes.size(), digest.data());
  return digest;
}

Sha256Digest Sha256(std::string_view text) {
  return Sha256({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

std::string Hex(std::span<const uint8_t> bytes) {
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

}  // namespace cryptvol
