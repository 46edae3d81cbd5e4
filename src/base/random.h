// Random bytes for keys and salts, from the kernel.
#ifndef CRYPTVOL_BASE_RANDOM_H_
#define CRYPTVOL_BASE_RANDOM_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/secret_bytes.h"

namespace cryptvol {

absl::Status FillRandom(std::span<uint8_t> out);
absl::StatusOr<SecretBytes> RandomSecret(size_t size);

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_RANDOM_H_
