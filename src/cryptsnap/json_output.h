// JSON for scripts, on standard output.
#ifndef CRYPTVOL_CRYPTSNAP_JSON_OUTPUT_H_
#define CRYPTVOL_CRYPTSNAP_JSON_OUTPUT_H_

#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/status.h"

namespace cryptvol::cryptsnap {

// Keys stay in the order in which they were set.
using Json = nlohmann::ordered_json;

// Indented, with a newline. Bytes that are no UTF-8 become U+FFFD.
absl::Status PrintJson(const Json& json);

// Text for a person, as it is: foreign parts were escaped by the caller.
absl::Status PrintText(std::string_view text);

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_JSON_OUTPUT_H_
