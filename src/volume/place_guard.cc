#include "volume/place_guard.h"

#include "base/status.h"

namespace cryptvol::volume {

absl::Status PlaceGuard::Visit::Enter(size_t at_once, Deadline deadline) {
  std::unique_lock lock(places_->mutex);
  Place& place = places_->by_name[name_];
  ++place.waiting;
  const bool free = places_->changed.wait_until(
      lock, deadline.time(), [&] { return place.abandoned > 0 || place.inside < at_once; });
  --place.waiting;
  if (!free || place.abandoned > 0) {
    return MakeStatus(
        absl::StatusCode::kAborted,
        "{} does not answer: an earlier call waits for it still, and no other one is begun until "
        "that has ended. Mend what it is mounted from, or unmount it (umount --force, or --lazy)",
        name_);
  }
  ++place.inside;
  entered_ = true;
  return absl::OkStatus();
}

void PlaceGuard::Visit::Abandoned() {
  const std::lock_guard lock(places_->mutex);
  if (!entered_ || abandoned_) return;
  abandoned_ = true;
  ++places_->by_name[name_].abandoned;
  places_->changed.notify_all();
}

PlaceGuard::Visit::~Visit() {
  const std::lock_guard lock(places_->mutex);
  if (!entered_) return;
  Place& place = places_->by_name[name_];
  --place.inside;
  if (abandoned_) --place.abandoned;
  if (place.inside == 0 && place.waiting == 0) places_->by_name.erase(name_);
  places_->changed.notify_all();
}

}  // namespace cryptvol::volume
