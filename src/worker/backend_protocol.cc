#include "worker/backend_protocol.h"

#include "worker/protocol.h"

namespace cryptvol::block {

void to_json(nlohmann::json& json, const VolumeInfo& info) {
  json = {{"spec", info.spec},
          {"attached", info.attached},
          {"damage", worker::StatusToJson(info.damage)}};
}

void from_json(const nlohmann::json& json, VolumeInfo& info) {
  json.at("spec").get_to(info.spec);
  json.at("attached").get_to(info.attached);
  info.damage = worker::StatusFromJson(json.at("damage"));
}

}  // namespace cryptvol::block
