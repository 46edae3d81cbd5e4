// Stanzas: the unit of an age header, and of what is said to plugins.
#ifndef CRYPTVOL_AGE_STANZA_H_
#define CRYPTVOL_AGE_STANZA_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cryptvol::age {

struct Stanza {
  std::string type;
  std::vector<std::string> args;  // without the type
  std::vector<uint8_t> body;

  bool operator==(const Stanza&) const = default;
};

// The type counts as one.
inline constexpr size_t kMaxArguments = 128;

// INVALID_ARGUMENT when type or arguments are empty, hold anything but printable ASCII without
// spaces, or are more than kMaxArguments.
absl::Status CheckStanza(const Stanza& stanza);

// "-> TYPE ARGS...\n" and the body in lines of 64 columns, the last one shorter. The stanza has
// passed CheckStanza.
std::string SerializeStanza(const Stanza& stanza);

// Takes a stanza line by line; lines come without their '\n'. INVALID_ARGUMENT says in what way
// one is malformed, and never quotes a body.
class StanzaParser {
 public:
  static bool IsFirstLine(std::string_view line) { return line.starts_with("->"); }

  absl::Status Begin(std::string_view line);
  // True after the last line.
  absl::StatusOr<bool> AddBodyLine(std::string_view line);
  Stanza Take() { return std::move(stanza_); }

 private:
  Stanza stanza_;
};

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_STANZA_H_
