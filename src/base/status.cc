#include "base/status.h"

#include <cerrno>
#include <cstring>

namespace cryptvol {

std::string ErrnoName(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : fmt::format("errno {}", error);
}

absl::Status ErrnoStatus(int error, std::string_view context) {
  const char* text = strerrordesc_np(error);
  if (error == EIO) {
    return MakeStatus(absl::StatusCode::kDataLoss,
                      "{}: {} (EIO); the disk, or the way to it, fails: see the kernel's log",
                      context, text);
  }
  return MakeStatus(absl::ErrnoToStatusCode(error), "{}: {} ({})", context,
                    text != nullptr ? text : "unknown error", ErrnoName(error));
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  return MakeStatus(status.code(), "{}: {}", context, Message(status));
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

}  // namespace cryptvol
