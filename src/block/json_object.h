// Reading our own JSON files strictly: every field that is expected, and no other.
#ifndef CRYPTVOL_BLOCK_JSON_OBJECT_H_
#define CRYPTVOL_BLOCK_JSON_OBJECT_H_

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace cryptvol::block {

// Each of these is INVALID_ARGUMENT, naming the field, for anything but what is asked for.
absl::StatusOr<nlohmann::json> ParseObject(std::string_view text,
                                           const std::set<std::string>& fields);
absl::StatusOr<std::string> StringField(const nlohmann::json& object, const std::string& name);
absl::StatusOr<uint64_t> UnsignedField(const nlohmann::json& object, const std::string& name);

// INVALID_ARGUMENT when a string in it is not UTF-8.
absl::StatusOr<std::string> SerializeJson(const nlohmann::json& value);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_JSON_OBJECT_H_
