// Which of a chain's times can be right.
#ifndef CRYPTVOL_SNAPSHOT_TIME_ORDER_H_
#define CRYPTVOL_SNAPSHOT_TIME_ORDER_H_

#include <vector>

#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

// For each of the times, which should not decrease, whether it fits: when as few as possible are
// left out so that the rest does not decrease, it is never one of those. Where it can be one or the
// other, as with two that contradict each other, neither fits. Pure.
std::vector<bool> FindFitting(const std::vector<Timestamp>& times);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_TIME_ORDER_H_
