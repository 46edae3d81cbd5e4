// Takes a JSON object apart: each field of the type that is asked for, and no other fields.
#ifndef CRYPTVOL_SNAPSHOT_JSON_FIELDS_H_
#define CRYPTVOL_SNAPSHOT_JSON_FIELDS_H_

#include <cstdint>
#include <set>
#include <string>

#include "base/status.h"
#include "nlohmann/json.hpp"

namespace cryptvol::snapshot {

// The first thing that is wrong is kept; until Finish says that there was none, what the getters
// gave means nothing.
class JsonFields {
 public:
  // `what` names the object in errors. The object outlives this.
  JsonFields(const nlohmann::json& object, std::string what)
      : object_(object), what_(std::move(what)) {
    if (!object.is_object()) Fail("it is no object");
  }

  bool Has(const std::string& name) const { return object_.is_object() && object_.contains(name); }

  // Null when it is absent; then that is what is wrong.
  const nlohmann::json* Take(const std::string& name) {
    seen_.insert(name);
    if (Has(name)) return &object_.at(name);
    Fail(fmt::format("the field \"{}\" is missing", name));
    return nullptr;
  }

  std::string Text(const std::string& name) {
    const nlohmann::json* value = Take(name);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    return Fail(fmt::format("the field \"{}\" is no string", name)), "";
  }

  uint64_t Number(const std::string& name, uint64_t least, uint64_t most) {
    const nlohmann::json* value = Take(name);
    if (value != nullptr && value->is_number_unsigned()) {
      const auto number = value->get<uint64_t>();
      if (number >= least && number <= most) return number;
    }
    return Fail(fmt::format("the field \"{}\" is no number from {} to {}", name, least, most)), 0;
  }

  bool Boolean(const std::string& name) {
    const nlohmann::json* value = Take(name);
    if (value != nullptr && value->is_boolean()) return value->get<bool>();
    return Fail(fmt::format("the field \"{}\" is neither true nor false", name)), false;
  }

  // The text, if `holds`.
  std::string TextThat(const std::string& name, bool (*holds)(std::string_view)) {
    std::string text = Text(name);
    if (!holds(text)) Fail(fmt::format("the field \"{}\" has a value that it cannot have", name));
    return text;
  }

  void Fail(const std::string& problem) {
    if (status_.ok()) status_ = InvalidArgument("{}: {}", what_, problem);
  }

  absl::Status Finish() {
    if (!object_.is_object()) return status_;
    for (const auto& item : object_.items()) {
      if (!seen_.contains(item.key())) Fail("it has a field that this format does not know");
    }
    return status_;
  }

 private:
  const nlohmann::json& object_;
  const std::string what_;
  std::set<std::string> seen_;
  absl::Status status_;
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_JSON_FIELDS_H_
