// The lines that minisign's files are made of.
#ifndef CRYPTVOL_MINISIGN_TEXT_H_
#define CRYPTVOL_MINISIGN_TEXT_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cryptvol::minisign {

inline constexpr std::string_view kUntrusted = "untrusted comment: ";
inline constexpr std::string_view kTrusted = "trusted comment: ";

// The text's lines, which end with LF or CRLF; the last may lack its end.
std::vector<std::string_view> Lines(std::string_view text);

// The line of base64 in a key file: alone, or behind a comment. INVALID_ARGUMENT, without the text,
// for anything else.
absl::StatusOr<std::string_view> KeyLine(std::string_view text, std::string_view what);

}  // namespace cryptvol::minisign

#endif  // CRYPTVOL_MINISIGN_TEXT_H_
