// Metrics, and one log line for each RPC.
#ifndef CRYPTVOL_CSI_TELEMETRY_H_
#define CRYPTVOL_CSI_TELEMETRY_H_

#include <grpcpp/support/status.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <chrono>
#include <compare>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "volume/environment.h"

namespace cryptvol::driver {

// What a count of volumes is told by.
struct VolumeGroup {
  std::string backend;
  std::string key_id;
  size_t other_keyslots = 0;  // see ListedVolume

  auto operator<=>(const VolumeGroup&) const = default;
};

using VolumesByKey = std::map<VolumeGroup, int>;

struct VolumeCount {
  VolumesByKey by_key;
  int unknown = 0;  // volumes, and backends as a whole, of which nothing could be told
};

// What is asked at the moment of a scrape.
struct LiveValues {
  std::function<uint64_t()> kdf_memory_in_use;
  std::function<uint64_t()> kdf_memory_most;
  std::function<int()> abandoned_workers;
  std::function<int()> unanswered_backend_calls;
};

// Thread-safe.
class Telemetry : public volume::Observer {
 public:
  explicit Telemetry(LiveValues live);

  void UnlockTook(std::chrono::duration<double> time) override;
  void RotationEnded(const char* result) override;
  void EscrowEnded(const absl::Status& status) override;

  // Replaces what was told before.
  void SetVolumes(const VolumeCount& volumes);
  // When there was no count: how many are unknown is no number then.
  void ForgetUnknownVolumes();

  // Counts and logs one finished RPC. `method` is "NodeStageVolume". Nothing of the request but the
  // volume's id is logged. Failures are warnings; repeated polls (Probe, capabilities) are logged
  // at debug level.
  void RpcEnded(const std::string& method, const std::string& volume_id, const grpc::Status& status,
                std::chrono::duration<double> time);

  // Prometheus' text exposition format.
  std::string Metrics();

 private:
  LiveValues live_;
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Histogram>& rpcs_;
  prometheus::Histogram& unlocks_;
  prometheus::Family<prometheus::Counter>& rotations_;
  prometheus::Family<prometheus::Counter>& escrows_;
  std::mutex volumes_mutex_;
  std::map<VolumeGroup, prometheus::Gauge*> volumes_told_;
  prometheus::Family<prometheus::Gauge>& volumes_;
  prometheus::Family<prometheus::Gauge>&
      unknown_volumes_;  // without a sample until the first count
  prometheus::Gauge& open_volumes_;
  prometheus::Gauge& kdf_in_use_;
  prometheus::Gauge& kdf_most_;
  prometheus::Gauge& abandoned_;
  prometheus::Gauge& unanswered_;
};

// The number of this driver's encrypted volumes that are mapped on this node, from /sys.
int CountOpenVolumes();

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_TELEMETRY_H_
