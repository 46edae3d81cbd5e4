#include "base/sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>

namespace cryptvol {
namespace {

void Require(bool done) {
  if (!done) std::abort();
}

}  // namespace

Sha256Digest Sha256(std::span<const uint8_t> bytes) {
  Sha256Stream stream;
  stream.Update(bytes);
  return stream.Finish();
}

Sha256Digest Sha256(std::string_view text) {
  return Sha256({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

Sha256Stream::Sha256Stream() : context_(::EVP_MD_CTX_new()) {
  Require(context_ != nullptr && ::EVP_DigestInit_ex(context_.get(), ::EVP_sha256(), nullptr) == 1);
}

void Sha256Stream::Update(std::span<const uint8_t> bytes) {
  Require(::EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

Sha256Digest Sha256Stream::Finish() {
  Sha256Digest digest;
  Require(::EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
  return digest;
}

std::string Hex(std::span<const uint8_t> bytes) {
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

}  // namespace cryptvol
