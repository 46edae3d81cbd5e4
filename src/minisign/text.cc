#include "minisign/text.h"

#include <algorithm>

#include "base/status.h"

namespace cryptvol::minisign {

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
  }
  return lines;
}

absl::StatusOr<std::string_view> KeyLine(std::string_view text, std::string_view what) {
  std::vector<std::string_view> lines = Lines(text);
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  if (lines.size() == 1) return lines[0];
  if (lines.size() == 2 && lines[0].starts_with(kUntrusted)) return lines[1];
  return InvalidArgument("this is not a {}: a line \"{}...\" and a line of base64", what,
                         kUntrusted);
}

}  // namespace cryptvol::minisign
