#include "csi/key_census.h"

#include <map>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "csi/volume_listing.h"

namespace cryptvol::driver {
namespace {

constexpr std::chrono::minutes kInterval(5);

}  // namespace

KeyCensus::KeyCensus(const volume::Storage* storage, Telemetry* telemetry)
    : storage_(storage), telemetry_(telemetry), thread_([this] { Work(); }) {}

KeyCensus::~KeyCensus() {
  Stop(std::chrono::seconds(0));
  thread_.join();
}

bool KeyCensus::Stop(std::chrono::seconds time) {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
  return changed_.wait_for(lock, time, [this] { return stopped_; });
}

void KeyCensus::Work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    Count();
    lock.lock();
    changed_.wait_for(lock, kInterval, [this] { return stopping_; });
  }
  stopped_ = true;
  changed_.notify_all();
}

void KeyCensus::Count() {
  const auto volumes = ListBackendVolumes(*storage_);
  if (!volumes.ok()) {
    return Log(LogLevel::kWarning, "the volumes could not be counted",
               {{"error", Message(volumes.status())}});
  }
  std::map<std::pair<std::string, std::string>, int> counts;
  for (const ListedVolume& volume : *volumes) {
    if (volume.keyslots > 0) ++counts[{volume.backend, volume.key_id}];
  }
  telemetry_->SetVolumes(counts);
}

}  // namespace cryptvol::driver
