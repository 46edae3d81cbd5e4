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
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "volume/environment.h"

namespace cryptvol::driver {

// How many volumes there are of each backend and key id.
using VolumesByKey = std::map<std::pair<std::string, std::string>, int>;

// What is asked at the moment of a scrape.
struct LiveValues {
  std::function<uint64_t()> kdf_memory_in_use;
  std::function<uint64_t()> kdf_memory_most;
  std::function<int()> abandoned_workers;
};

// Thread-safe.
class Telemetry : public volume::Observer {
 public:
  explicit Telemetry(LiveValues live);

  void UnlockTook(std::chrono::duration<double> time) override;
  void RotationEnded(const char* result) override;
  void EscrowEnded(const absl::Status& status) override;

  // Replaces what was told before.
  void SetVolumes(const VolumesByKey& volumes);

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
  std::map<std::pair<std::string, std::string>, prometheus::Gauge*> volumes_told_;
  prometheus::Family<prometheus::Gauge>& volumes_;
  prometheus::Gauge& open_volumes_;
  prometheus::Gauge& kdf_in_use_;
  prometheus::Gauge& kdf_most_;
  prometheus::Gauge& abandoned_;
};

// The number of this driver's encrypted volumes that are mapped on this node, from /sys.
int CountOpenVolumes();

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_TELEMETRY_H_
