// A deadline as poll(2) takes it.
#ifndef CRYPTVOL_BASE_POLL_TIMEOUT_H_
#define CRYPTVOL_BASE_POLL_TIMEOUT_H_

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/deadline.h"

namespace cryptvol {

// Milliseconds, at most what an int holds, which is some weeks: poll may return before the deadline.
inline int PollTimeout(Deadline deadline) {
  constexpr std::chrono::milliseconds kMost(std::numeric_limits<int>::max());
  return static_cast<int>(std::min(deadline.remaining(), kMost).count());
}

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_POLL_TIMEOUT_H_
