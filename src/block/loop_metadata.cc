#include "block/loop_metadata.h"

#include "base/status.h"
#include "block/json_object.h"

namespace cryptvol::block {
namespace {

constexpr uint64_t kVersion = 1;

nlohmann::json ToJson(const VolumeSpec& spec) {
  return {
      {"volume_id", spec.volume_id},           {"name", spec.name},
      {"capacity_bytes", spec.capacity_bytes}, {"header_bytes", spec.header_bytes},
      {"parameters", spec.parameters},
  };
}

absl::StatusOr<VolumeSpec> ParseSpec(std::string_view json) {
  CV_ASSIGN_OR_RETURN(const auto object, ParseObject(json, {"volume_id", "name", "capacity_bytes",
                                                            "header_bytes", "parameters"}));
  VolumeSpec spec;
  CV_ASSIGN_OR_RETURN(spec.volume_id, StringField(object, "volume_id"));
  CV_ASSIGN_OR_RETURN(spec.name, StringField(object, "name"));
  CV_ASSIGN_OR_RETURN(spec.capacity_bytes, UnsignedField(object, "capacity_bytes"));
  CV_ASSIGN_OR_RETURN(spec.header_bytes, UnsignedField(object, "header_bytes"));
  const nlohmann::json& parameters = object["parameters"];
  if (!parameters.is_object()) return InvalidArgument("its field \"parameters\" is not an object");
  for (const auto& item : parameters.items()) {
    CV_ASSIGN_OR_RETURN(spec.parameters[item.key()], StringField(parameters, item.key()));
  }
  return spec;
}

}  // namespace

absl::StatusOr<std::string> SerializeLoopMetadata(const LoopMetadata& metadata) {
  return SerializeJson({
      {"version", kVersion},
      {"volume", ToJson(metadata.spec)},
      {"record", nlohmann::json::parse(SerializeFormatRecord(metadata.record))},
  });
}

absl::StatusOr<LoopMetadata> ParseLoopMetadata(std::string_view json) {
  CV_ASSIGN_OR_RETURN(const auto object, ParseObject(json, {"version", "volume", "record"}));
  CV_ASSIGN_OR_RETURN(const uint64_t version, UnsignedField(object, "version"));
  if (version != kVersion) {
    return InvalidArgument("it is of version {}, this program knows version {}", version, kVersion);
  }
  LoopMetadata metadata;
  CV_ASSIGN_OR_RETURN(metadata.spec, ParseSpec(object["volume"].dump()));
  CV_ASSIGN_OR_RETURN(metadata.record, ParseFormatRecord(object["record"].dump()));
  return metadata;
}

}  // namespace cryptvol::block
