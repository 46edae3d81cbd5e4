#include "volume/inspection_gate.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/status.h"

namespace cryptvol::volume {

InspectionGate::InspectionGate(size_t places, Clock::duration patience)
    : places_(places), patience_(patience) {}

size_t InspectionGate::DefaultPlaces() {
  return std::max<size_t>(4, size_t{2} * std::thread::hardware_concurrency());
}

InspectionGate::Place::Place(Place&& other) noexcept
    : gate_(std::exchange(other.gate_, nullptr)), ticket_(other.ticket_) {}

InspectionGate::Place::~Place() {
  if (gate_ != nullptr) gate_->Leave(ticket_);
}

absl::StatusOr<InspectionGate::Place> InspectionGate::Enter(Deadline deadline) {
  std::unique_lock lock(mutex_);
  const uint64_t ticket = next_ticket_++;
  const Clock::time_point end = Clock::now() + deadline.remaining();
  waiting_.insert(ticket);
  for (;;) {
    const Clock::time_point now = Clock::now();
    if (ticket == *waiting_.begin() && Counting(now) < places_) break;
    if (now >= end) {
      waiting_.erase(ticket);
      changed_.notify_all();
      return MakeStatus(absl::StatusCode::kDeadlineExceeded,
                        "other volumes were looked at for too long; try again");
    }
    changed_.wait_until(lock, std::min(end, NextExpiry(now)));
  }
  waiting_.erase(ticket);
  inside_[ticket] = Clock::now();
  changed_.notify_all();
  return Place(this, ticket);
}

void InspectionGate::Leave(uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  inside_.erase(ticket);
  changed_.notify_all();
}

size_t InspectionGate::Counting(Clock::time_point now) const {
  return static_cast<size_t>(std::ranges::count_if(
      inside_, [&](const auto& entry) { return now - entry.second < patience_; }));
}

InspectionGate::Clock::time_point InspectionGate::NextExpiry(Clock::time_point now) const {
  Clock::time_point next = now + patience_;
  for (const auto& [ticket, since] : inside_) {
    if (since + patience_ > now) next = std::min(next, since + patience_);
  }
  return next;
}

}  // namespace cryptvol::volume
