// The few primitives of OpenSSL's EVP interface that age and minisign are made of.
//
// All of them: INTERNAL when the library itself fails (a provider is missing, no memory).
#ifndef CRYPTVOL_AGE_PRIMITIVES_H_
#define CRYPTVOL_AGE_PRIMITIVES_H_

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/bytes.h"
#include "base/c_handle.h"
#include "base/random.h"
#include "base/secret_bytes.h"

namespace cryptvol::age {

using Bytes = std::span<const uint8_t>;
using MutableBytes = std::span<uint8_t>;

inline constexpr size_t kKeyBytes = 32;  // of X25519, HKDF's results, ChaCha20-Poly1305
inline constexpr size_t kTagBytes = 16;
using AeadNonce = std::array<uint8_t, 12>;
using PublicKey = std::array<uint8_t, kKeyBytes>;
using Mac = std::array<uint8_t, 32>;

// What OpenSSL says about its last failure on this thread, as an INTERNAL error of `attempt`.
absl::Status OpenSslError(std::string_view attempt);

// 32 bytes.
absl::StatusOr<SecretBytes> HkdfSha256(Bytes key, Bytes salt, std::string_view info);
absl::StatusOr<Mac> HmacSha256(Bytes key, Bytes data);
bool EqualInConstantTime(Bytes a, Bytes b);

struct ScryptCost {
  uint64_t n = 0;  // a power of two; n * r * 128 bytes of memory are needed
  uint32_t r = 8;
  uint32_t p = 1;
};
// Fills `out`. RESOURCE_EXHAUSTED when there is not enough memory.
absl::Status Scrypt(Bytes passphrase, Bytes salt, const ScryptCost& cost, MutableBytes out);

absl::StatusOr<PublicKey> X25519Public(const SecretBytes& secret);
// INVALID_ARGUMENT when the result would be zero: the share is a point of low order, which only
// somebody who cheats sends.
absl::StatusOr<SecretBytes> X25519Shared(const SecretBytes& secret, const PublicKey& share);

// ChaCha20-Poly1305 under one key. Its context is reused from call to call, so: one thread at a
// time.
class Aead {
 public:
  static absl::StatusOr<Aead> New(Bytes key);

  // out: the plaintext's size + kTagBytes. in and out do not overlap.
  absl::Status Seal(const AeadNonce& nonce, Bytes plaintext, MutableBytes out);
  // out: the sealed size - kTagBytes, which the caller has checked to be no less than zero. DATA_LOSS
  // when the bytes are not authentic; `out` is then zero.
  absl::Status Open(const AeadNonce& nonce, Bytes sealed, MutableBytes out);

 private:
  using Context = Handle<EVP_CIPHER_CTX, ::EVP_CIPHER_CTX_free>;
  explicit Aead(Context context) : context_(std::move(context)) {}
  Context context_;
};

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_PRIMITIVES_H_
