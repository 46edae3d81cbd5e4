// Ed25519 and BLAKE2b-512, from OpenSSL. INTERNAL when the library fails.
#ifndef CRYPTVOL_MINISIGN_ED25519_H_
#define CRYPTVOL_MINISIGN_ED25519_H_

#include <array>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "base/secret_bytes.h"
#include "base/stream.h"

namespace cryptvol::minisign {

using Ed25519Key = std::array<uint8_t, 32>;
using Ed25519Signature = std::array<uint8_t, 64>;
using Digest = std::array<uint8_t, 64>;

absl::StatusOr<Ed25519Key> Ed25519Public(const SecretBytes& seed);
absl::StatusOr<Ed25519Signature> Ed25519Sign(const SecretBytes& seed,
                                             std::span<const uint8_t> message);
bool Ed25519Verify(const Ed25519Key& key, std::span<const uint8_t> message,
                   const Ed25519Signature& signature);

// To the source's end.
absl::StatusOr<Digest> Blake2b512(ByteSource& source);
absl::StatusOr<Digest> Blake2b512(std::span<const uint8_t> bytes);

}  // namespace cryptvol::minisign

#endif  // CRYPTVOL_MINISIGN_ED25519_H_
