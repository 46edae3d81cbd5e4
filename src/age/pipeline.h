// Fill, transform and drain slots: the first and last in order, one at a time; the middle on many threads.
#ifndef CRYPTVOL_AGE_PIPELINE_H_
#define CRYPTVOL_AGE_PIPELINE_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
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

// A worker fills a slot and transforms it at once, so that the bytes stay in the cache of its
// processor, and mostly drains it too. When it is not that slot's turn yet, it does not wait, as long
// as there is a free slot. Errors take effect in order: what was filled before the one that failed is
// still drained, so that the outcome does not depend on timing.
template <typename Slot>
class OrderedPipeline {
 public:
  // All on any of the threads. Calls of `fill` do not overlap each other, nor do those of `drain`.
  struct Stages {
    std::function<absl::StatusOr<bool>(Slot&)> fill;      // true: this slot is the last
    std::function<void(Slot&, size_t worker)> transform;  // `worker`: from 0, less than `workers`
    std::function<absl::Status(Slot&)> drain;
  };

  // As many slots as workers, or more.
  OrderedPipeline(size_t workers, std::vector<Slot> slots, Stages stages)
      : workers_(workers), slots_(std::move(slots)), stages_(std::move(stages)) {
    for (Slot& slot : slots_) free_.push_back(&slot);
  }

  // Once. The first error in order, after all threads have ended: a fill that is in progress is
  // waited for. RESOURCE_EXHAUSTED when threads cannot be started.
  absl::Status Run() {
    {
      std::vector<std::jthread> threads;
      threads.reserve(workers_);
      if (absl::Status status = Start(threads); !status.ok()) return status;
      Work(0);
    }
    return status_;
  }

 private:
  struct Filled {
    Slot* slot;
    absl::Status status;  // of the fill
    bool ready = false;   // to be drained
  };

  absl::Status Start(std::vector<std::jthread>& threads) {
    try {
      for (size_t i = 1; i < workers_; ++i) threads.emplace_back([this, i] { Work(i); });
    } catch (const std::system_error& error) {
      {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        changed_.notify_all();
      }
      return MakeStatus(absl::StatusCode::kResourceExhausted,
                        "start {} threads: {}; raise the limit of processes, or ask for fewer "
                        "threads",
                        workers_, error.what());
    }
    return absl::OkStatus();
  }

  void Work(size_t worker) {
    std::unique_lock lock(mutex_);
    while (!stopped_ && !(ended_ && filled_.empty())) {
      if (!draining_ && !filled_.empty() && filled_.front().ready) {
        Drain(lock);
      } else if (!ended_ && !filling_ && !free_.empty()) {
        FillAndTransform(lock, worker);
      } else {
        changed_.wait(lock);
      }
    }
    changed_.notify_all();
  }

  // What becomes possible is done by this worker, which looks for work again, and by one that waits.
  void Drain(std::unique_lock<std::mutex>& lock) {
    Filled& first = filled_.front();
    draining_ = true;
    lock.unlock();
    absl::Status status = first.status.ok() ? stages_.drain(*first.slot) : first.status;
    lock.lock();
    draining_ = false;
    free_.push_back(first.slot);
    filled_.pop_front();
    if (!status.ok()) {
      status_ = std::move(status);
      stopped_ = true;
    }
    changed_.notify_one();
  }

  void FillAndTransform(std::unique_lock<std::mutex>& lock, size_t worker) {
    Slot* slot = free_.back();
    free_.pop_back();
    filling_ = true;
    lock.unlock();
    const absl::StatusOr<bool> last = stages_.fill(*slot);
    lock.lock();
    filling_ = false;
    ended_ = !last.ok() || *last;
    // Where it is in the queue does not change until it is ready.
    Filled& filled = filled_.emplace_back(Filled{.slot = slot, .status = last.status()});
    changed_.notify_one();
    if (last.ok()) {
      lock.unlock();
      stages_.transform(*slot, worker);
      lock.lock();
    }
    filled.ready = true;
  }

  const size_t workers_;
  std::vector<Slot> slots_;
  const Stages stages_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // All below: under mutex_.
  std::vector<Slot*> free_;    // the one that was used last at the end
  std::deque<Filled> filled_;  // in the order in which they were filled
  bool filling_ = false;
  bool draining_ = false;
  bool ended_ = false;    // nothing more is to be filled
  bool stopped_ = false;  // nothing more is to be done
  absl::Status status_;
};

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_PIPELINE_H_
