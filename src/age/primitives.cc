#include "age/primitives.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <algorithm>

#include "base/status.h"

namespace cryptvol::age {
namespace {

using Key = Handle<EVP_PKEY, ::EVP_PKEY_free>;
using KeyContext = Handle<EVP_PKEY_CTX, ::EVP_PKEY_CTX_free>;
using KdfContext = Handle<EVP_KDF_CTX, ::EVP_KDF_CTX_free>;

// Fetching costs more than a chunk; what is fetched lives as long as the process.
const EVP_CIPHER* ChaCha20Poly1305() {
  static EVP_CIPHER* const cipher = ::EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  return cipher;
}
EVP_KDF* Hkdf() {
  static EVP_KDF* const kdf = ::EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  return kdf;
}
EVP_KDF* ScryptKdf() {
  static EVP_KDF* const kdf = ::EVP_KDF_fetch(nullptr, "SCRYPT", nullptr);
  return kdf;
}

// OpenSSL's parameters are not const, though setters only read them.
OSSL_PARAM BytesParam(const char* name, Bytes value) {
  return ::OSSL_PARAM_construct_octet_string(name, const_cast<uint8_t*>(value.data()),
                                             value.size());
}

// A key of all zeros as the shared secret, seen without a branch on secret bytes.
bool IsZero(Bytes bytes) {
  uint8_t any = 0;
  for (const uint8_t byte : bytes) any |= byte;
  return any == 0;
}

int Length(Bytes bytes) { return static_cast<int>(bytes.size()); }

// OpenSSL goes over what one call gives it twice, for the cipher and for the tag: in steps that stay in
// a processor's first cache.
bool Update(EVP_CIPHER_CTX* context, Bytes in, MutableBytes out) {
  constexpr size_t kStep = 4096;
  for (size_t at = 0; at < in.size(); at += kStep) {
    const Bytes step = in.subspan(at, std::min(kStep, in.size() - at));
    int size = 0;
    if (::EVP_CipherUpdate(context, out.data() + at, &size, step.data(), Length(step)) != 1) {
      return false;
    }
  }
  return true;
}

}  // namespace

absl::Status OpenSslError(std::string_view attempt) {
  std::array<char, 256> text = {};
  const unsigned long error = ::ERR_peek_last_error();
  ::ERR_error_string_n(error, text.data(), text.size());
  ::ERR_clear_error();
  return Internal("{}: OpenSSL failed ({})", attempt, error == 0 ? "no reason given" : text.data());
}

absl::StatusOr<SecretBytes> HkdfSha256(Bytes key, Bytes salt, std::string_view info) {
  CV_ASSIGN_OR_RETURN(SecretBytes out, SecretBytes::Allocate(kKeyBytes));
  // RFC 5869's meaning of no salt, which OpenSSL 3.0 does not take as an empty one.
  constexpr std::array<uint8_t, 32> kNoSalt = {};
  if (salt.empty()) salt = kNoSalt;
  const KdfContext context(::EVP_KDF_CTX_new(Hkdf()));
  std::string digest = "SHA256";
  const std::array params = {
      ::OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      BytesParam(OSSL_KDF_PARAM_KEY, key), BytesParam(OSSL_KDF_PARAM_SALT, salt),
      BytesParam(OSSL_KDF_PARAM_INFO, AsBytes(info)), ::OSSL_PARAM_construct_end()};
  if (context == nullptr ||
      ::EVP_KDF_derive(context.get(), out.data(), out.size(), params.data()) != 1) {
    return OpenSslError("derive a key with HKDF");
  }
  return out;
}

absl::StatusOr<Mac> HmacSha256(Bytes key, Bytes data) {
  Mac mac;
  size_t size = 0;
  if (::EVP_Q_mac(nullptr, "HMAC", nullptr, "SHA256", nullptr, key.data(), key.size(), data.data(),
                  data.size(), mac.data(), mac.size(), &size) == nullptr ||
      size != mac.size()) {
    return OpenSslError("compute an HMAC");
  }
  return mac;
}

bool EqualInConstantTime(Bytes a, Bytes b) {
  return a.size() == b.size() && ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

absl::Status Scrypt(Bytes passphrase, Bytes salt, const ScryptCost& cost, MutableBytes out) {
  const KdfContext context(::EVP_KDF_CTX_new(ScryptKdf()));
  uint64_t n = cost.n;
  uint64_t r = cost.r;
  uint64_t p = cost.p;
  uint64_t memory = 128 * r * (n + p + 2) + (1 << 20);
  const std::array params = {BytesParam(OSSL_KDF_PARAM_PASSWORD, passphrase),
                             BytesParam(OSSL_KDF_PARAM_SALT, salt),
                             ::OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
                             ::OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_R, &r),
                             ::OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_P, &p),
                             ::OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory),
                             ::OSSL_PARAM_construct_end()};
  if (context != nullptr &&
      ::EVP_KDF_derive(context.get(), out.data(), out.size(), params.data()) == 1) {
    return absl::OkStatus();
  }
  if (ERR_GET_REASON(::ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE) {
    ::ERR_clear_error();
    return MakeStatus(absl::StatusCode::kResourceExhausted,
                      "stretch a passphrase with scrypt: it takes {} MiB of memory, which are not "
                      "there; raise the memory limit",
                      memory >> 20);
  }
  return OpenSslError("stretch a passphrase with scrypt");
}

absl::StatusOr<PublicKey> X25519Public(const SecretBytes& secret) {
  const Key key(
      ::EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, secret.data(), secret.size()));
  PublicKey result;
  size_t size = result.size();
  if (key == nullptr || ::EVP_PKEY_get_raw_public_key(key.get(), result.data(), &size) != 1) {
    return OpenSslError("compute an X25519 public key");
  }
  return result;
}

absl::StatusOr<SecretBytes> X25519Shared(const SecretBytes& secret, const PublicKey& share) {
  CV_ASSIGN_OR_RETURN(SecretBytes shared, SecretBytes::Allocate(kKeyBytes));
  const Key ours(
      ::EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, secret.data(), secret.size()));
  const Key theirs(
      ::EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, share.data(), share.size()));
  const KeyContext context(ours ? ::EVP_PKEY_CTX_new(ours.get(), nullptr) : nullptr);
  if (context == nullptr || theirs == nullptr || ::EVP_PKEY_derive_init(context.get()) != 1 ||
      ::EVP_PKEY_derive_set_peer(context.get(), theirs.get()) != 1) {
    return OpenSslError("agree on a key with X25519");
  }
  size_t size = shared.size();
  // With sound keys, a zero result is all that makes this fail.
  if (::EVP_PKEY_derive(context.get(), shared.data(), &size) != 1 || IsZero(shared.span())) {
    ::ERR_clear_error();
    return InvalidArgument("an X25519 share of low order, which is never sent in good faith");
  }
  return shared;
}

absl::StatusOr<Aead> Aead::New(Bytes key) {
  Context context(::EVP_CIPHER_CTX_new());
  if (context == nullptr || key.size() != kKeyBytes ||
      ::EVP_CipherInit_ex2(context.get(), ChaCha20Poly1305(), key.data(), nullptr, 1, nullptr) !=
          1) {
    return OpenSslError("set up ChaCha20-Poly1305");
  }
  return Aead(std::move(context));
}

absl::Status Aead::Seal(const AeadNonce& nonce, Bytes plaintext, MutableBytes out) {
  EVP_CIPHER_CTX* context = context_.get();
  int size = 0;
  bool ok = out.size() == plaintext.size() + kTagBytes &&
            ::EVP_CipherInit_ex2(context, nullptr, nullptr, nonce.data(), 1, nullptr) == 1;
  uint8_t* tag = out.data() + plaintext.size();
  ok = ok && Update(context, plaintext, out);
  ok = ok && ::EVP_CipherFinal_ex(context, tag, &size) == 1 &&
       ::EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag) == 1;
  if (!ok) return OpenSslError("encrypt with ChaCha20-Poly1305");
  return absl::OkStatus();
}

absl::Status Aead::Open(const AeadNonce& nonce, Bytes sealed, MutableBytes out) {
  EVP_CIPHER_CTX* context = context_.get();
  const Bytes ciphertext = sealed.first(sealed.size() - kTagBytes);
  std::array<uint8_t, kTagBytes> tag;
  std::ranges::copy(sealed.last(kTagBytes), tag.begin());
  int size = 0;
  bool ok = out.size() == ciphertext.size() &&
            ::EVP_CipherInit_ex2(context, nullptr, nullptr, nonce.data(), 0, nullptr) == 1 &&
            ::EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1;
  ok = ok && Update(context, ciphertext, out);
  if (!ok) return OpenSslError("decrypt with ChaCha20-Poly1305");
  uint8_t none = 0;
  if (::EVP_CipherFinal_ex(context, &none, &size) == 1) return absl::OkStatus();
  ::ERR_clear_error();
  ::OPENSSL_cleanse(out.data(), out.size());
  return MakeStatus(absl::StatusCode::kDataLoss, "not authentic");
}

}  // namespace cryptvol::age
