#include "base/random.h"

#include <sys/random.h>

#include <cerrno>
#include <utility>

#include "base/status.h"

namespace cryptvol {

absl::Status FillRandom(std::span<uint8_t> out) {
  while (!out.empty()) {
    const ssize_t n = TEMP_FAILURE_RETRY(::getrandom(out.data(), out.size(), 0));
    if (n < 0) return ErrnoStatus(errno, "get random bytes from the kernel");
    out = out.subspan(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<SecretBytes> RandomSecret(size_t size) {
  CV_ASSIGN_OR_RETURN(SecretBytes secret, SecretBytes::Allocate(size));
  CV_RETURN_IF_ERROR(FillRandom(secret.span()));
  return secret;
}

}  // namespace cryptvol
