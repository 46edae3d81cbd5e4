// How many paths and devices are looked at at once when a node comes back: without a bound, a hundred stages
// start a hundred processes that share the processors, and none ends within its deadline.
#ifndef CRYPTVOL_VOLUME_INSPECTION_GATE_H_
#define CRYPTVOL_VOLUME_INSPECTION_GATE_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>

#include "absl/status/statusor.h"
#include "base/deadline.h"

namespace cryptvol::volume {

// Thread-safe. Places are given in the order in which they were asked for.
class InspectionGate {
 public:
  using Clock = std::chrono::steady_clock;

  // A place counts for no longer than `patience`: what takes longer waits for its device, not for a
  // processor, and must not hold up those whose devices answer.
  explicit InspectionGate(size_t places = DefaultPlaces(),
                          Clock::duration patience = std::chrono::seconds(5));

  // Twice the processors, and at least four.
  static size_t DefaultPlaces();

  class Place {
   public:
    Place(Place&& other) noexcept;
    Place& operator=(Place&&) = delete;
    ~Place();

   private:
    friend class InspectionGate;
    Place(InspectionGate* gate, uint64_t ticket) : gate_(gate), ticket_(ticket) {}
    InspectionGate* gate_;
    uint64_t ticket_;
  };

  // DEADLINE_EXCEEDED when there was none in time.
  absl::StatusOr<Place> Enter(Deadline deadline);

 private:
  void Leave(uint64_t ticket);
  size_t Counting(Clock::time_point now) const;
  Clock::time_point NextExpiry(Clock::time_point now) const;

  const size_t places_;
  const Clock::duration patience_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t next_ticket_ = 0;
  std::set<uint64_t> waiting_;
  std::map<uint64_t, Clock::time_point> inside_;  // since when
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_INSPECTION_GATE_H_
