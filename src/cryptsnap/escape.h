// Text that a stranger wrote, made fit for a terminal and a log.
#ifndef CRYPTVOL_CRYPTSNAP_ESCAPE_H_
#define CRYPTVOL_CRYPTSNAP_ESCAPE_H_

#include <string>
#include <string_view>

namespace cryptvol::cryptsnap {

// UTF-8 stays, but for what could move the cursor, start a line, or turn the reading direction:
// control characters, line separators, bidirectional marks, and bytes that are no UTF-8 become
// "\n", "\t" or "\xNN". Of a secret key (an age identity, a minisign key), which somebody has given
// in the place of a file's name, only the beginning stays, and "...".
std::string EscapeForeign(std::string_view text);

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_ESCAPE_H_
