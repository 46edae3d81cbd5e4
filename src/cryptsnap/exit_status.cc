#include "cryptsnap/exit_status.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/cord.h"
#include "base/no_space.h"
#include "base/status.h"
#include "cryptsnap/escape.h"

namespace cryptvol::cryptsnap {
namespace {

constexpr char kExitUrl[] = "cryptsnap/exit-status";
constexpr char kHintUrl[] = "cryptsnap/hint";

// Whatever is written gets its name when it is whole.
constexpr char kNoSpaceHint[] =
    "free some space there, or raise the quota, and run the command again; nothing half-done stays "
    "behind";

void SetOnce(absl::Status& status, const char* url, std::string value) {
  if (!status.ok() && !status.GetPayload(url)) status.SetPayload(url, absl::Cord(std::move(value)));
}

ExitStatus ByCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return ExitStatus::kDone;
    case absl::StatusCode::kInvalidArgument:
      return ExitStatus::kUsage;
    case absl::StatusCode::kUnauthenticated:
      return ExitStatus::kWrongKey;
    case absl::StatusCode::kDataLoss:
      return ExitStatus::kTampering;
    case absl::StatusCode::kNotFound:
      return ExitStatus::kNotFound;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kPermissionDenied:
      return ExitStatus::kTransport;
    default:
      return ExitStatus::kOther;
  }
}

// Lists, such as of etcd's members, have a line for each. A newline that came from a stranger makes
// nothing that could be taken for a line of ours.
void PrintLines(const char* kind, std::string_view text) {
  for (bool first = true; !text.empty(); first = false) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string line = EscapeForeign(text.substr(0, end));
    if (first) {
      std::fprintf(stderr, "cryptsnap: %s: %s\n", kind, line.c_str());
    } else {
      std::fprintf(stderr, "cryptsnap:   %s\n", line.c_str());
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

absl::Status WithExitStatus(absl::Status status, ExitStatus exit_status) {
  SetOnce(status, kExitUrl, std::string(1, static_cast<char>('0' + static_cast<int>(exit_status))));
  return status;
}

absl::Status WithHint(absl::Status status, std::string_view hint) {
  if (!hint.empty()) SetOnce(status, kHintUrl, std::string(hint));
  return status;
}

absl::Status UsageError(std::string_view message, std::string_view hint) {
  return WithHint(WithExitStatus(InvalidArgument("{}", message), ExitStatus::kUsage), hint);
}

ExitStatus ExitStatusOf(const absl::Status& status) {
  const auto word = status.GetPayload(kExitUrl);
  if (!word) return ByCode(status.code());
  return static_cast<ExitStatus>(std::string(*word).front() - '0');
}

std::string HintOf(const absl::Status& status) {
  const auto hint = status.GetPayload(kHintUrl);
  return hint ? std::string(*hint) : std::string();
}

int Report(const absl::Status& status) {
  if (status.ok()) return 0;
  PrintLines("error", Message(status));
  const std::string hint = HintOf(status);
  PrintLines("hint", hint.empty() && IsNoSpace(status) ? kNoSpaceHint : hint);
  return static_cast<int>(ExitStatusOf(status));
}

}  // namespace cryptvol::cryptsnap
