#include "cryptsnap/json_output.h"

#include "age/primitives.h"
#include "cryptsnap/output.h"

namespace cryptvol::cryptsnap {

absl::Status PrintText(std::string_view text) {
  Output output("-", 0600);
  return output.Write(AsBytes(text));
}

absl::Status PrintJson(const Json& json) {
  // ASCII only: ESC and its like are escaped by JSON's own rules, and so is all that is not ASCII.
  return PrintText(json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n");
}

}  // namespace cryptvol::cryptsnap
