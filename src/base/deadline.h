// A point in monotonic time by which an outside step must have ended.
#ifndef CRYPTVOL_BASE_DEADLINE_H_
#define CRYPTVOL_BASE_DEADLINE_H_

#include <algorithm>
#include <chrono>

namespace cryptvol {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline After(std::chrono::milliseconds duration) {
    return Deadline(Clock::now() + duration);
  }
  static Deadline At(Clock::time_point time) { return Deadline(time); }

  // Never negative.
  std::chrono::milliseconds remaining() const {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(time_ - Clock::now());
    return std::max(left, std::chrono::milliseconds(0));
  }
  bool expired() const { return Clock::now() >= time_; }
  Clock::time_point time() const { return time_; }
  static Deadline Earlier(Deadline a, Deadline b) { return a.time_ < b.time_ ? a : b; }

 private:
  explicit Deadline(Clock::time_point time) : time_(time) {}
  Clock::time_point time_;
};

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_DEADLINE_H_
