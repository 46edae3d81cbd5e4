// What the driver and the process that serves a backend say to each other, by the messages of protocol.h.
//
// First the driver says {"log": LogSettings, "lock": BOOL}: whether it still wants the backend's lock. Requests are
// {"id": N, "call": NAME, "args": {...}}, many at once; replies have the request's id and are as in protocol.h, in any
// order. {"lock": true} comes by itself, and behind it the backend's lock, as SendLock sends one.
#ifndef CRYPTVOL_WORKER_BACKEND_PROTOCOL_H_
#define CRYPTVOL_WORKER_BACKEND_PROTOCOL_H_

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "block/backend.h"
#include "block/format_record.h"

namespace cryptvol::worker {

// The first argument of cryptvol-worker that makes it serve a backend; the backend's name and the state directory
// follow.
inline constexpr char kServeBackend[] = "backend";
// What that process calls itself.
inline constexpr char kStoreName[] = "cryptvol-store";

}  // namespace cryptvol::worker

namespace cryptvol {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LogSettings, level, format)
}  // namespace cryptvol

namespace cryptvol::block {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FormatRecord, state, luks_uuid, filesystem, filesystem_uuid,
                                   device_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VolumeSpec, volume_id, name, capacity_bytes, header_bytes,
                                   parameters)
void to_json(nlohmann::json& json, const VolumeInfo& info);
void from_json(const nlohmann::json& json, VolumeInfo& info);
}  // namespace cryptvol::block

#endif  // CRYPTVOL_WORKER_BACKEND_PROTOCOL_H_
