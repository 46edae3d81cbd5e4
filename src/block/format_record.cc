#include "block/format_record.h"

#include <array>

#include "base/status.h"
#include "block/json_object.h"

namespace cryptvol::block {
namespace {

// By the value of FormatState.
constexpr std::array<std::string_view, 3> kStateNames = {"never", "intended", "formatted"};

absl::StatusOr<FormatState> ParseState(const std::string& name) {
  for (size_t i = 0; i < kStateNames.size(); ++i) {
    if (kStateNames[i] == name) return static_cast<FormatState>(i);
  }
  return InvalidArgument("unknown state \"{}\"", name);
}

absl::StatusOr<FormatRecord> FromJson(std::string_view json) {
  CV_ASSIGN_OR_RETURN(const auto object, ParseObject(json, {"state", "luks_uuid", "filesystem",
                                                            "filesystem_uuid", "device_bytes"}));
  FormatRecord record;
  CV_ASSIGN_OR_RETURN(const std::string state, StringField(object, "state"));
  CV_ASSIGN_OR_RETURN(record.state, ParseState(state));
  CV_ASSIGN_OR_RETURN(record.luks_uuid, StringField(object, "luks_uuid"));
  CV_ASSIGN_OR_RETURN(record.filesystem, StringField(object, "filesystem"));
  CV_ASSIGN_OR_RETURN(record.filesystem_uuid, StringField(object, "filesystem_uuid"));
  CV_ASSIGN_OR_RETURN(record.device_bytes, UnsignedField(object, "device_bytes"));
  return record;
}

}  // namespace

std::string SerializeFormatRecord(const FormatRecord& record) {
  const nlohmann::json object = {
      {"state", kStateNames[static_cast<size_t>(record.state)]},
      {"luks_uuid", record.luks_uuid},
      {"filesystem", record.filesystem},
      {"filesystem_uuid", record.filesystem_uuid},
      {"device_bytes", record.device_bytes},
  };
  // UUIDs and filesystem names are ASCII. Replacing what is not keeps this function from failing.
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::StatusOr<FormatRecord> ParseFormatRecord(std::string_view json) {
  absl::StatusOr<FormatRecord> record = FromJson(json);
  if (!record.ok()) return Annotate(record.status(), "read a record of the first format");
  return record;
}

absl::Status CheckSuccessor(const FormatRecord& current, const FormatRecord& next) {
  if (current.state != FormatState::kFormatted || next.state == FormatState::kFormatted) {
    return absl::OkStatus();
  }
  return FailedPrecondition(
      "record the first format: this volume was formatted already, and its record does not go back "
      "to \"{}\"",
      kStateNames[static_cast<size_t>(next.state)]);
}

}  // namespace cryptvol::block
