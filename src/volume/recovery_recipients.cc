#include "volume/recovery_recipients.h"

#include <algorithm>

#include "absl/strings/str_split.h"
#include "age/plugin.h"
#include "age/x25519.h"
#include "base/status.h"
#include "luks/recovery_token.h"

namespace cryptvol::volume {
namespace {

std::vector<std::string> Entries(std::string_view text) {
  std::vector<std::string> entries;
  const std::vector<std::string> lines = absl::StrSplit(std::string(text), '\n');
  for (const std::string& line : lines) {
    const std::string content = line.substr(0, line.find('#'));
    const std::vector<std::string> words =
        absl::StrSplit(content, absl::ByAnyChar(", \t\r\v\f"), absl::SkipEmpty());
    entries.insert(entries.end(), words.begin(), words.end());
  }
  return entries;
}

absl::Status CheckOne(size_t number, const std::string& entry) {
  if (age::X25519Recipient::Parse(entry).ok()) return absl::OkStatus();
  if (entry.starts_with("AGE-SECRET-KEY-") || entry.starts_with("AGE-PLUGIN-")) {
    return InvalidArgument(
        "entry {} is a secret identity: give its recipient (age1...), and treat the identity as "
        "lost, since it stood in plain sight",
        number);
  }
  if (age::PluginRecipient::Parse(entry, {}).ok()) {
    return InvalidArgument(
        "entry {} is a plugin's recipient, and the driver runs no plugins: use a native one "
        "(`age-keygen`, `cryptsnap keygen`)",
        number);
  }
  return InvalidArgument("entry {} is no age recipient (age1...)", number);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseRecoveryRecipients(std::string_view text) {
  std::vector<std::string> entries = Entries(text);
  if (entries.empty()) return InvalidArgument("it names no age recipient");
  for (size_t i = 0; i < entries.size(); ++i) CV_RETURN_IF_ERROR(CheckOne(i + 1, entries[i]));
  std::ranges::sort(entries);
  const auto [first, last] = std::ranges::unique(entries);
  entries.erase(first, last);
  if (entries.size() <= luks::kMaxRecoveryRecipients) return entries;
  return InvalidArgument("it names {} age recipients; a header holds at most {}", entries.size(),
                         luks::kMaxRecoveryRecipients);
}

}  // namespace cryptvol::volume
