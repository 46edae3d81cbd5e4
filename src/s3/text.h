// Names on their way into URLs, XML and messages.
#ifndef CRYPTVOL_S3_TEXT_H_
#define CRYPTVOL_S3_TEXT_H_

#include <optional>
#include <string>
#include <string_view>

namespace cryptvol::s3 {

// A foreign name or text for a message: printable ASCII as it is, all else as \xNN, so that it
// cannot forge lines or move a terminal's cursor; cut after 256 bytes.
std::string Escaped(std::string_view text);

enum class Slash { kKeep, kEncode };

// As Signature V4 wants it: every byte but A-Z a-z 0-9 - . _ ~ becomes %XX. Encode once: S3, unlike
// other AWS services, does not encode a path a second time for signing.
std::string UriEncode(std::string_view text, Slash slash);

// Undoes encoding-type=url, where '+' is a space. nullopt for a '%' without two hexadecimal digits.
std::optional<std::string> UriDecode(std::string_view text);

std::string XmlEscape(std::string_view text);

// Without a byte that could end a header and start another.
bool IsHeaderText(std::string_view text);

std::string Lowercase(std::string_view text);
std::string_view Trim(std::string_view text);  // spaces, tabs and line ends

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_TEXT_H_
