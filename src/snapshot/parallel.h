// The same small task for many things, several at once: each is a request to a server.
#ifndef CRYPTVOL_SNAPSHOT_PARALLEL_H_
#define CRYPTVOL_SNAPSHOT_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace cryptvol::snapshot {

inline constexpr size_t kRequestsAtOnce = 8;

// Calls task(0) to task(count - 1), in no order, until one fails; its error. `task` is called from
// several threads.
inline absl::Status InParallel(size_t count, const std::function<absl::Status(size_t)>& task) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  absl::Status failure;
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) {
      const absl::Status status = task(i);
      if (status.ok()) continue;
      const std::lock_guard lock(mutex);
      failure.Update(status);
      next = count;
    }
  };
  std::vector<std::jthread> threads;
  try {
    for (size_t i = 1; i < std::min(count, kRequestsAtOnce); ++i) threads.emplace_back(work);
  } catch (const std::system_error&) {
    // Those that could be started, and this one, do it.
  }
  work();
  threads.clear();
  return failure;
}

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_PARALLEL_H_
