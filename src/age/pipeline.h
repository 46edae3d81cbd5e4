// Fill, transform and drain slots: the first and last in order, one at a time; the middle on many threads.
#ifndef CRYPTVOL_AGE_PIPELINE_H_
#define CRYPTVOL_AGE_PIPELINE_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status.h"

namespace cryptvol::age {

// Each worker has one slot, and does all three things with it, so that the bytes stay in the cache of
// its processor. Errors take effect in order: what was filled before the one that failed is still
// drained, so that the outcome does not depend on timing.
template <typename Slot>
class OrderedPipeline {
 public:
  // All on any of the threads. Calls of `fill` do not overlap each other, nor do those of `drain`.
  struct Stages {
    std::function<absl::StatusOr<bool>(Slot&)> fill;      // true: this slot is the last
    std::function<void(Slot&, size_t worker)> transform;  // `worker`: less than the number of slots
    std::function<absl::Status(Slot&)> drain;
  };

  // As many workers as slots.
  OrderedPipeline(std::vector<Slot> slots, Stages stages)
      : slots_(std::move(slots)), stages_(std::move(stages)) {}

  // Once. The first error in order, after all threads have ended: a fill that is in progress is
  // waited for. RESOURCE_EXHAUSTED when threads cannot be started.
  absl::Status Run() {
    {
      std::vector<std::jthread> threads;
      threads.reserve(slots_.size());
      if (absl::Status status = Start(threads); !status.ok()) return status;
      Work(0);
    }
    return status_;
  }

 private:
  struct Filled {
    uint64_t index;
    absl::Status status;
  };

  absl::Status Start(std::vector<std::jthread>& threads) {
    try {
      for (size_t i = 1; i < slots_.size(); ++i) threads.emplace_back([this, i] { Work(i); });
    } catch (const std::system_error& error) {
      stopped_ = true;
      return MakeStatus(absl::StatusCode::kResourceExhausted,
                        "start {} threads: {}; raise the limit of processes, or ask for fewer "
                        "threads",
                        slots_.size(), error.what());
    }
    return absl::OkStatus();
  }

  void Work(size_t worker) {
    Filled filled;
    while (Fill(slots_[worker], filled)) {
      if (filled.status.ok()) stages_.transform(slots_[worker], worker);
      Drain(slots_[worker], filled);
    }
  }

  // False when there is nothing more to be done.
  bool Fill(Slot& slot, Filled& filled) {
    const std::lock_guard lock(fill_mutex_);
    if (ended_ || stopped_) return false;
    const absl::StatusOr<bool> last = stages_.fill(slot);
    ended_ = !last.ok() || *last;
    filled = {next_++, last.status()};
    return true;
  }

  // When it is this slot's turn. After an error nothing is drained any more.
  void Drain(Slot& slot, const Filled& filled) {
    std::unique_lock lock(drain_mutex_);
    turn_changed_.wait(lock, [&] { return turn_ == filled.index; });
    if (!stopped_) {
      lock.unlock();
      absl::Status status = filled.status.ok() ? stages_.drain(slot) : filled.status;
      lock.lock();
      if (!status.ok()) {
        status_ = std::move(status);
        stopped_ = true;
      }
    }
    ++turn_;
    turn_changed_.notify_all();
  }

  std::vector<Slot> slots_;
  const Stages stages_;
  std::atomic<bool> stopped_ = false;

  std::mutex fill_mutex_;
  bool ended_ = false;
  uint64_t next_ = 0;

  std::mutex drain_mutex_;
  std::condition_variable turn_changed_;
  uint64_t turn_ = 0;  // the slot that is drained now, in the order in which they were filled
  absl::Status status_;
};

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_PIPELINE_H_
