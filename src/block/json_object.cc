#include "block/json_object.h"

#include "absl/strings/str_join.h"
#include "base/status.h"

namespace cryptvol::block {

absl::StatusOr<nlohmann::json> ParseObject(std::string_view text,
                                           const std::set<std::string>& fields) {
  nlohmann::json object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return InvalidArgument("not a whole JSON object");
  std::set<std::string> names;
  for (const auto& item : object.items()) names.insert(item.key());
  if (names != fields) {
    return InvalidArgument("it has the fields {} in place of {}", absl::StrJoin(names, ", "),
                           absl::StrJoin(fields, ", "));
  }
  return object;
}

absl::StatusOr<std::string> StringField(const nlohmann::json& object, const std::string& name) {
  auto field = object.find(name);
  if (field == object.end() || !field->is_string()) {
    return InvalidArgument("its field \"{}\" is not a string", name);
  }
  return field->get<std::string>();
}

absl::StatusOr<uint64_t> UnsignedField(const nlohmann::json& object, const std::string& name) {
  auto field = object.find(name);
  if (field == object.end() || !field->is_number_unsigned()) {
    return InvalidArgument("its field \"{}\" is not a whole number from 0 up", name);
  }
  return field->get<uint64_t>();
}

absl::StatusOr<std::string> SerializeJson(const nlohmann::json& value) {
  try {
    return value.dump(2) + "\n";
  } catch (const nlohmann::json::type_error&) {
    return InvalidArgument("a text that is not UTF-8 cannot be stored");
  }
}

}  // namespace cryptvol::block
