// libcryptsetup says why something failed through a log callback only; this keeps it for the error
// message.
#ifndef CRYPTVOL_WORKER_CRYPT_LOG_H_
#define CRYPTVOL_WORKER_CRYPT_LOG_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace cryptvol::worker {

// Collects what libcryptsetup logs from now on, for all contexts of this process. Call once.
void CaptureCryptLog();

// What was logged since the last call, in one line; libcryptsetup never logs keys.
std::string TakeCryptLog();

// `result` is libcryptsetup's: a negative errno. The message has the errno and what was logged.
// EPERM gets no special meaning here: only unlocking knows that it means a wrong key.
absl::Status CryptStatus(int result, std::string_view context);

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_CRYPT_LOG_H_
