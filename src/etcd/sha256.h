// The digest that etcd appends to a snapshot.
#ifndef CRYPTVOL_ETCD_SHA256_H_
#define CRYPTVOL_ETCD_SHA256_H_

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <span>

#include "base/c_handle.h"

namespace cryptvol::etcd {

class Sha256 {
 public:
  using Digest = std::array<uint8_t, 32>;

  // Fails only where OpenSSL has no SHA-256; then Finish is all zeros, which matches nothing.
  Sha256() : context_(EVP_MD_CTX_new()) {
    ok_ = EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1;
  }
  void Update(std::span<const uint8_t> bytes) {
    ok_ = ok_ && EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1;
  }
  Digest Finish() {
    Digest digest = {};
    if (ok_ && EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) != 1) digest = {};
    return digest;
  }

 private:
  Handle<EVP_MD_CTX, EVP_MD_CTX_free> context_;
  bool ok_ = false;
};

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_SHA256_H_
