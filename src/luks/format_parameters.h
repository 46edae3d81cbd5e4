// With what a new LUKS2 volume is made: cipher, key size, PBKDF and their bounds.
//
// Three sources, the later winning: our defaults, the StorageClass, the Secret (Longhorn's CRYPTO_*
// names, docs/secrets.md). Existing volumes are opened with what their own header says; see
// header.h.
#ifndef CRYPTVOL_LUKS_FORMAT_PARAMETERS_H_
#define CRYPTVOL_LUKS_FORMAT_PARAMETERS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::luks {

// What a StorageClass or a Secret says; absent means "the next source decides".
struct FormatOverrides {
  std::optional<std::string> cipher;         // dm-crypt's notation: "aes-xts-plain64"
  std::optional<uint32_t> key_bits;          // of the volume key: 512 is AES-256 in XTS
  std::optional<std::string> hash;           // of PBKDF2 and the anti-forensic splitter: "sha256"
  std::optional<std::string> pbkdf;          // argon2id, argon2i, pbkdf2
  std::optional<uint32_t> pbkdf_iterations;  // PBKDF2 iterations, or Argon2's time cost
  std::optional<uint32_t> pbkdf_memory_kib;  // Argon2 only
  std::optional<uint32_t> sector_bytes;      // 512, 1024, 2048, 4096
};

inline constexpr uint32_t kDefaultPbkdf2Iterations = 600'000;

struct FormatParameters {
  std::string cipher;       // "aes"
  std::string cipher_mode;  // "xts-plain64"
  uint32_t key_bits = 0;
  std::string hash;
  std::string pbkdf;
  uint32_t pbkdf_iterations = 0;  // never 0: costs are explicit, nothing is benchmarked
  uint32_t pbkdf_memory_kib = 0;  // 0 for PBKDF2
  uint32_t pbkdf_lanes = 0;       // Argon2's parallelism; 0 for PBKDF2
  uint32_t sector_bytes = 0;      // 0: the caller chooses, by access type

  // What one derivation takes, for the memory budget.
  uint64_t kdf_memory_bytes() const { return uint64_t{pbkdf_memory_kib} * 1024; }
};

// Defaults: aes-xts-plain64 with the largest key that the cipher takes (512 bits), sha256; argon2id
// with 64 MiB, 4 passes (libcryptsetup's minimum; RFC 9106's second recommended option has 3), 4
// lanes. PBKDF2 without iterations gets 600000; a memory cost means nothing to it, and is ignored
// as cryptsetup does. For a key that its owner declares to be random, and without an explicit
// pbkdf, PBKDF2 with 1000 iterations whatever costs are set: stretching 256 random bits buys
// nothing and costs time at each mount.
//
// INVALID_ARGUMENT, naming the value, its source's name for it, and the allowed range, for anything
// that is unknown (null ciphers, ECB, a key size that the cipher does not have) or whose cost is
// out of bounds (kMaxArgonMemoryKib and so on, in the .cc): one that would run for minutes, or is
// trivially weak.
absl::StatusOr<FormatParameters> ResolveFormatParameters(const FormatOverrides& storage_class,
                                                         const FormatOverrides& secret,
                                                         bool key_is_random);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_FORMAT_PARAMETERS_H_
