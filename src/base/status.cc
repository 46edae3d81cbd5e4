#include "base/status.h"

#include <cerrno>
#include <cstring>

#include "absl/strings/cord.h"
#include "base/no_space.h"

namespace cryptvol {
namespace {

constexpr char kNoSpaceUrl[] = "cryptvol/no-space";

}  // namespace

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
  absl::Status status = MakeStatus(absl::ErrnoToStatusCode(error), "{}: {} ({})", context,
                                   text != nullptr ? text : "unknown error", ErrnoName(error));
  if (error == ENOSPC || error == EDQUOT) status.SetPayload(kNoSpaceUrl, absl::Cord());
  return status;
}

bool IsNoSpace(const absl::Status& status) { return status.GetPayload(kNoSpaceUrl).has_value(); }

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated = MakeStatus(status.code(), "{}: {}", context, Message(status));
  status.ForEachPayload([&annotated](const auto& url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

}  // namespace cryptvol
