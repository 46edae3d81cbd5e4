// Counts, now and then, which keys the backends' volumes open with: whoever retires a key wants to
// know what was not rotated yet, and most of that is not staged anywhere.
#ifndef CRYPTVOL_CSI_KEY_CENSUS_H_
#define CRYPTVOL_CSI_KEY_CENSUS_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "csi/telemetry.h"
#include "volume/storage.h"

namespace cryptvol::driver {

// A thread of its own, because a header on storage that does not answer may never be read.
class KeyCensus {
 public:
  // Both outlive it.
  KeyCensus(const volume::Storage* storage, Telemetry* telemetry);
  ~KeyCensus();
  KeyCensus(const KeyCensus&) = delete;
  KeyCensus& operator=(const KeyCensus&) = delete;

  // False: it waits for storage that does not answer, and must not be destroyed.
  bool Stop(std::chrono::seconds time);

 private:
  void Work();
  void Count();

  const volume::Storage* const storage_;
  Telemetry* const telemetry_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_KEY_CENSUS_H_
