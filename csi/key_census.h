// Counts, now and then, which keys the volumes of the backends, and the static ones that were staged
// on this node, open with: whoever retires a key wants to know what was not rotated yet, and most of
// that is not staged anywhere.
#ifndef CRYPTVOL_CSI_KEY_CENSUS_H_
#define CRYPTVOL_CSI_KEY_CENSUS_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/status/statusor.h"
#include "csi/options.h"
#include "csi/telemetry.h"

namespace cryptvol::driver {

// Runs `cryptvol-csi key list` as a process of its own, because a header on storage that does not
// answer may never be read, and a process that waits for one cannot end.
class KeyCensus {
 public:
  // Both outlive it.
  KeyCensus(const Options* options, Telemetry* telemetry);
  ~KeyCensus();  // waits for a count that is under way, which has a deadline
  KeyCensus(const KeyCensus&) = delete;
  KeyCensus& operator=(const KeyCensus&) = delete;

  // No count begins any more.
  void Stop();

 private:
  void Work();
  absl::StatusOr<VolumeCount> Count() const;

  const Options* const options_;
  Telemetry* const telemetry_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  VolumesByKey last_;  // of the thread alone
  std::thread thread_;
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_KEY_CENSUS_H_
