#include "csi/telemetry.h"

#include <prometheus/text_serializer.h>

#include <filesystem>
#include <limits>
#include <set>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::driver {
namespace {

// Seconds. A stage with a cheap keyslot takes hundredths, one with Argon2 seconds, a first mkfs
// more.
const prometheus::Histogram::BucketBoundaries& Buckets() {
  static const auto& buckets = *new prometheus::Histogram::BucketBoundaries{
      0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300};
  return buckets;
}

bool IsPolled(const std::string& method) {
  static const auto& polled = *new std::set<std::string>{
      "GetPluginInfo",       "GetPluginCapabilities", "Probe",       "ControllerGetCapabilities",
      "NodeGetCapabilities", "NodeGetInfo",           "GetCapacity", "NodeGetVolumeStats"};
  return polled.contains(method);
}

prometheus::Gauge& AddGauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

std::string CodeName(grpc::StatusCode code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

}  // namespace

Telemetry::Telemetry(LiveValues live)
    : live_(std::move(live)),
      rpcs_(prometheus::BuildHistogram()
                .Name("cryptvol_rpc_duration_seconds")
                .Help("Time that CSI calls took, by method and gRPC code.")
                .Register(registry_)),
      unlocks_(prometheus::BuildHistogram()
                   .Name("cryptvol_unlock_duration_seconds")
                   .Help("Time that unlocking a keyslot took, without waiting for memory.")
                   .Register(registry_)
                   .Add({}, Buckets())),
      rotations_(prometheus::BuildCounter()
                     .Name("cryptvol_key_rotations_total")
                     .Help("Times that a volume's keyslots were compared with its Secret, by what "
                           "came of it: rotated, unchanged, failed.")
                     .Register(registry_)),
      escrows_(prometheus::BuildCounter()
                   .Name("cryptvol_header_escrows_total")
                   .Help("Times that a volume's header was to be saved, by what came of it: ok, "
                         "failed.")
                   .Register(registry_)),
      volumes_(prometheus::BuildGauge()
                   .Name("cryptvol_volumes")
                   .Help("Encrypted volumes of the backends, staged or not, and static ones that "
                         "were staged on this node, by the CRYPTO_KEY_ID of the key that opens "
                         "them, and the number of keyslots besides its own and the recovery "
                         "keyslot: with such a one, an earlier key may open the volume too.")
                   .Register(registry_)),
      unknown_volumes_(
          prometheus::BuildGauge()
              .Name("cryptvol_volumes_unknown")
              .Help("Volumes, and backends as a whole, that are not in cryptvol_volumes because "
                    "their headers or metadata could not be read: a key that seems to be out of "
                    "use may be theirs. NaN when nothing could be counted.")
              .Register(registry_)),
      open_volumes_(AddGauge(registry_, "cryptvol_open_volumes",
                             "Encrypted volumes that are mapped on this node.")),
      kdf_in_use_(AddGauge(registry_, "cryptvol_kdf_memory_bytes",
                           "Memory that running key derivations may take, of the budget.")),
      kdf_most_(AddGauge(registry_, "cryptvol_kdf_memory_max_bytes",
                         "The most that it was since the start.")),
      abandoned_(AddGauge(registry_, "cryptvol_abandoned_workers",
                          "Killed worker processes that wait in the kernel for a device.")),
      unanswered_(AddGauge(registry_, "cryptvol_backend_unanswered_calls",
                           "Calls that a backend did not answer in time and has yet to answer: its "
                           "disk hangs, or has too much to do.")) {
  // From the first scrape on: a series that begins with its first failure does not grow, and no alert
  // on its growth would see that one.
  for (const char* result : {"rotated", "unchanged", "failed"})
    rotations_.Add({{"result", result}});
  for (const char* result : {"ok", "failed"}) escrows_.Add({{"result", result}});
}

void Telemetry::UnlockTook(std::chrono::duration<double> time) { unlocks_.Observe(time.count()); }

void Telemetry::RotationEnded(const char* result) {
  rotations_.Add({{"result", result}}).Increment();
}

void Telemetry::EscrowEnded(const absl::Status& status) {
  escrows_.Add({{"result", status.ok() ? "ok" : "failed"}}).Increment();
}

void Telemetry::ForgetUnknownVolumes() {
  unknown_volumes_.Add({}).Set(std::numeric_limits<double>::quiet_NaN());
}

void Telemetry::SetVolumes(const VolumeCount& count) {
  unknown_volumes_.Add({}).Set(count.unknown);
  const VolumesByKey& volumes = count.by_key;
  const std::lock_guard lock(volumes_mutex_);
  for (const auto& [group, gauge] : volumes_told_) {
    if (!volumes.contains(group)) volumes_.Remove(gauge);
  }
  std::erase_if(volumes_told_, [&](const auto& told) { return !volumes.contains(told.first); });
  for (const auto& [group, number] : volumes) {
    prometheus::Gauge& gauge =
        volumes_.Add({{"backend", group.backend},
                      {"key_id", group.key_id},
                      {"other_keyslots", std::to_string(group.other_keyslots)}});
    gauge.Set(number);
    volumes_told_[group] = &gauge;
  }
}

void Telemetry::RpcEnded(const std::string& method, const std::string& volume_id,
                         const grpc::Status& status, std::chrono::duration<double> time) {
  const std::string code = CodeName(status.error_code());
  rpcs_.Add({{"method", method}, {"code", code}}, Buckets()).Observe(time.count());
  const std::string seconds = fmt::format("{:.3f}", time.count());
  if (!status.ok()) {
    Log(LogLevel::kWarning, "rpc",
        {{"method", method},
         {"volume", volume_id},
         {"code", code},
         {"seconds", seconds},
         {"error", status.error_message()}});
    return;
  }
  Log(IsPolled(method) ? LogLevel::kDebug : LogLevel::kInfo, "rpc",
      {{"method", method}, {"volume", volume_id}, {"code", code}, {"seconds", seconds}});
}

std::string Telemetry::Metrics() {
  open_volumes_.Set(CountOpenVolumes());
  kdf_in_use_.Set(static_cast<double>(live_.kdf_memory_in_use()));
  kdf_most_.Set(static_cast<double>(live_.kdf_memory_most()));
  abandoned_.Set(live_.abandoned_workers());
  unanswered_.Set(live_.unanswered_backend_calls());
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

int CountOpenVolumes() {
  int count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/block", error)) {
    auto name = ReadSmallFile((entry.path() / "dm/name").string(), 4096);
    if (name.ok() && name->starts_with("cryptvol-")) ++count;
  }
  return count;
}

}  // namespace cryptvol::driver
