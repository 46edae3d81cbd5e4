// Errors of the whole project: absl::Status with a message that a person can act on.
//
// A message reads "what was attempted: what happened; what to do about it". The volume is named
// once, by the layer that knows it. Codes are chosen where the cause is known, by their meaning in
// CSI (docs/errors.md), and are mapped to gRPC once, in csi/status_mapping.h.
#ifndef CRYPTVOL_BASE_STATUS_H_
#define CRYPTVOL_BASE_STATUS_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fmt/format.h"

namespace cryptvol {

// A Status with a formatted message. Debian's absl has a string_view of its own, so messages are
// made here and not with absl::InternalError(std::string_view).
template <typename... Args>
[[nodiscard]] absl::Status MakeStatus(absl::StatusCode code, fmt::format_string<Args...> format,
                                      Args&&... args) {
  return absl::Status(code, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[nodiscard]] absl::Status InvalidArgument(fmt::format_string<Args...> format, Args&&... args) {
  return MakeStatus(absl::StatusCode::kInvalidArgument, format, std::forward<Args>(args)...);
}

template <typename... Args>
[[nodiscard]] absl::Status FailedPrecondition(fmt::format_string<Args...> format, Args&&... args) {
  return MakeStatus(absl::StatusCode::kFailedPrecondition, format, std::forward<Args>(args)...);
}

template <typename... Args>
[[nodiscard]] absl::Status Internal(fmt::format_string<Args...> format, Args&&... args) {
  return MakeStatus(absl::StatusCode::kInternal, format, std::forward<Args>(args)...);
}

// `error` is a positive errno. The message is "CONTEXT: No such file or directory (ENOENT)"; the
// code is absl::ErrnoToStatus's, but for EIO: DATA_LOSS, and where to look. Callers for which an
// errno means something else (libcryptsetup's EPERM is a wrong key) translate it before they come
// here.
[[nodiscard]] absl::Status ErrnoStatus(int error, std::string_view context);

// "EBUSY" for EBUSY; "errno 4242" for what has no name.
std::string ErrnoName(int error);

// The same code and payloads, with "context: " before the message. OK stays OK.
[[nodiscard]] absl::Status Annotate(const absl::Status& status, std::string_view context);

std::string Message(const absl::Status& status);

namespace internal {
inline absl::Status ToStatus(absl::Status status) { return status; }
template <typename T>
absl::Status ToStatus(const absl::StatusOr<T>& result) {
  return result.status();
}
}  // namespace internal

}  // namespace cryptvol

// Returns from the enclosing function when `expr` (a Status or a StatusOr) is not OK.
#define CV_RETURN_IF_ERROR(expr)                                                    \
  do {                                                                              \
    if (auto cv_status_ = ::cryptvol::internal::ToStatus((expr)); !cv_status_.ok()) \
      return cv_status_;                                                            \
  } while (false)

#define CV_CONCAT_INNER_(a, b) a##b
#define CV_CONCAT_(a, b) CV_CONCAT_INNER_(a, b)

// CV_ASSIGN_OR_RETURN(auto x, MakeX()): assigns the value, or returns the error.
#define CV_ASSIGN_OR_RETURN(lhs, expr) \
  CV_ASSIGN_OR_RETURN_(CV_CONCAT_(cv_result_, __LINE__), lhs, expr)
#define CV_ASSIGN_OR_RETURN_(result, lhs, expr)        \
  auto result = (expr);                                \
  if (!result.ok()) return std::move(result).status(); \
  lhs = *std::move(result)

#endif  // CRYPTVOL_BASE_STATUS_H_
