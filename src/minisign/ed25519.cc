#include "minisign/ed25519.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <vector>

#include "age/primitives.h"
#include "base/c_handle.h"
#include "base/status.h"

namespace cryptvol::minisign {
namespace {

using Key = Handle<EVP_PKEY, ::EVP_PKEY_free>;
using DigestContext = Handle<EVP_MD_CTX, ::EVP_MD_CTX_free>;

Key PrivateKey(const SecretBytes& seed) {
  return Key(::EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size()));
}

}  // namespace

absl::StatusOr<Ed25519Key> Ed25519Public(const SecretBytes& seed) {
  const Key key = PrivateKey(seed);
  Ed25519Key result;
  size_t size = result.size();
  if (key == nullptr || ::EVP_PKEY_get_raw_public_key(key.get(), result.data(), &size) != 1) {
    return age::OpenSslError("compute an Ed25519 public key");
  }
  return result;
}

absl::StatusOr<Ed25519Signature> Ed25519Sign(const SecretBytes& seed,
                                             std::span<const uint8_t> message) {
  const Key key = PrivateKey(seed);
  const DigestContext context(::EVP_MD_CTX_new());
  Ed25519Signature signature;
  size_t size = signature.size();
  if (key == nullptr || context == nullptr ||
      ::EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1 ||
      ::EVP_DigestSign(context.get(), signature.data(), &size, message.data(), message.size()) !=
          1) {
    return age::OpenSslError("sign with Ed25519");
  }
  return signature;
}

bool Ed25519Verify(const Ed25519Key& key, std::span<const uint8_t> message,
                   const Ed25519Signature& signature) {
  const Key public_key(
      ::EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size()));
  const DigestContext context(::EVP_MD_CTX_new());
  const bool good =
      public_key != nullptr && context != nullptr &&
      ::EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, public_key.get()) == 1 &&
      ::EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(),
                         message.size()) == 1;
  ::ERR_clear_error();
  return good;
}

absl::StatusOr<Digest> Blake2b512(ByteSource& source) {
  const DigestContext context(::EVP_MD_CTX_new());
  if (context == nullptr || ::EVP_DigestInit_ex(context.get(), ::EVP_blake2b512(), nullptr) != 1) {
    return age::OpenSslError("set up BLAKE2b");
  }
  std::vector<uint8_t> buffer(64 * 1024);
  while (true) {
    CV_ASSIGN_OR_RETURN(const size_t got, source.Read(buffer));
    if (got == 0) break;
    if (::EVP_DigestUpdate(context.get(), buffer.data(), got) != 1) {
      return age::OpenSslError("hash with BLAKE2b");
    }
  }
  Digest digest;
  unsigned int size = 0;
  if (::EVP_DigestFinal_ex(context.get(), digest.data(), &size) != 1 || size != digest.size()) {
    return age::OpenSslError("hash with BLAKE2b");
  }
  return digest;
}

absl::StatusOr<Digest> Blake2b512(std::span<const uint8_t> bytes) {
  Digest digest;
  unsigned int size = 0;
  if (::EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, ::EVP_blake2b512(), nullptr) !=
          1 ||
      size != digest.size()) {
    return age::OpenSslError("hash with BLAKE2b");
  }
  return digest;
}

}  // namespace cryptvol::minisign
