// How a volume's lock reaches mkfs and fsck, which work on its device too.
#ifndef CRYPTVOL_VOLUME_WORKER_DESCRIPTORS_H_
#define CRYPTVOL_VOLUME_WORKER_DESCRIPTORS_H_

#include <utility>
#include <vector>

#include "volume/device_worker.h"

namespace cryptvol::volume {

// Not 3: some programs take that for something of their own.
inline constexpr int kInheritedLockFd = 9;

inline std::vector<std::pair<int, int>> InheritedLock(const OperationLock& lock) {
  if (lock.fd() < 0) return {};
  return {{lock.fd(), kInheritedLockFd}};
}

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_WORKER_DESCRIPTORS_H_
