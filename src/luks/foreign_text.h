// Text that a stranger wrote, on its way into our messages and comparisons.
#ifndef CRYPTVOL_LUKS_FOREIGN_TEXT_H_
#define CRYPTVOL_LUKS_FOREIGN_TEXT_H_

#include <string>
#include <string_view>

namespace cryptvol::luks {

// The text with '?' for everything that is not printable ASCII: it cannot forge lines in a log, and
// is valid UTF-8 wherever that is asked for (gRPC, JSON), also after a cut.
std::string Printable(std::string_view text);

// In quotation marks, printable, and cut where it is too long for a message.
std::string Quoted(std::string_view text);

// The canonical form of a UUID: 36 characters, hexadecimal in either case.
bool IsUuid(std::string_view text);

// Without control characters and of 1 to 256 bytes: fit to name a volume.
bool IsIdentifier(std::string_view text);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_FOREIGN_TEXT_H_
