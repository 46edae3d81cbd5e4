// JSON that a stranger may have written, read so that no second parser can understand it otherwise.
//
// libcryptsetup reads the same bytes with json-c, which takes comments, cuts strings at a NUL and
// lets the last of two equal names win. What was checked here must be what it acts on, so every
// text on which parsers could differ is refused.
#ifndef CRYPTVOL_LUKS_STRICT_JSON_H_
#define CRYPTVOL_LUKS_STRICT_JSON_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace cryptvol::luks {

using Json = nlohmann::json;

// One JSON value and nothing else, of at most 32 levels (json-c's limit) and 100000 values, in
// valid UTF-8, without NUL in a string and without equal names in one object. INVALID_ARGUMENT
// otherwise; the message says at which byte.
absl::StatusOr<Json> ParseStrictJson(std::string_view text);

// Members of an object. Absent (null, nullopt) when `value` is no object, has no such member, or
// one of another type.
const Json* FindObject(const Json& value, const char* name);
const Json* FindArray(const Json& value, const char* name);
std::optional<std::string> FindString(const Json& value, const char* name);
// A JSON number without sign and fraction, of 32 bits: wider ones are cut by libcryptsetup.
std::optional<uint32_t> FindNumber(const Json& value, const char* name);
// The same of 64 bits, for what has an upper limit here, so that the refusal can say what there is.
std::optional<uint64_t> FindWideNumber(const Json& value, const char* name);
// A string of decimal digits, as LUKS2 writes 64-bit numbers.
std::optional<uint64_t> FindDecimal(const Json& value, const char* name);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_STRICT_JSON_H_
