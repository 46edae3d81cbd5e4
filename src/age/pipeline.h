// Fill, transform and drain slots: the first and last in order on one thread each, the middle on
// many.
#ifndef CRYPTVOL_AGE_PIPELINE_H_
#define CRYPTVOL_AGE_PIPELINE_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status.h"

namespace cryptvol::age {

// Memory is bounded: slots go round. Errors take effect in order: what was filled before the one
// that failed is still drained, so that the outcome does not depend on timing.
template <typename Slot>
class OrderedPipeline {
 public:
  struct Stages {
    // On a thread of its own. True: this slot is the last.
    std::function<absl::StatusOr<bool>(Slot&)> fill;
    // On any of the workers; `worker` is less than their number.
    std::function<void(Slot&, size_t worker)> transform;
    // On the thread that called Run.
    std::function<absl::Status(Slot&)> drain;
  };

  OrderedPipeline(std::vector<Slot> slots, Stages stages) : stages_(std::move(stages)) {
    entries_.reserve(slots.size());
    for (Slot& slot : slots) entries_.push_back({std::move(slot), State::kFree, {}, false});
  }

  // Once. The first error in order, after all threads have ended: a fill that is in progress is
  // waited for. RESOURCE_EXHAUSTED when threads cannot be started.
  absl::Status Run(size_t workers) {
    std::vector<std::jthread> threads;
    threads.reserve(workers + 1);
    absl::Status status = Start(workers, threads);
    if (status.ok()) status = Drain();
    Stop();
    return status;
  }

 private:
  enum class State { kFree, kFilled, kBusy, kDone };
  struct Entry {
    Slot slot;
    State state;
    absl::Status fill_status;
    bool last;
  };
  using Lock = std::unique_lock<std::mutex>;
  static constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

  Entry& At(uint64_t index) { return entries_[index % entries_.size()]; }

  absl::Status Start(size_t workers, std::vector<std::jthread>& threads) {
    try {
      threads.emplace_back([this] { Fill(); });
      for (size_t i = 0; i < workers; ++i) threads.emplace_back([this, i] { Transform(i); });
    } catch (const std::system_error& error) {
      return MakeStatus(absl::StatusCode::kResourceExhausted,
                        "start {} threads: {}; raise the limit of processes, or ask for fewer "
                        "threads",
                        workers + 1, error.what());
    }
    return absl::OkStatus();
  }

  void Stop() {
    const Lock lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }

  // False when the pipeline was stopped.
  bool Await(Lock& lock, const std::function<bool()>& condition) {
    changed_.wait(lock, [&] { return stopped_ || condition(); });
    return !stopped_;
  }

  void Advance(Entry& entry, State state) {
    entry.state = state;
    changed_.notify_all();
  }

  void Fill() {
    Lock lock(mutex_);
    for (uint64_t index = 0; end_ == kNever; ++index) {
      Entry& entry = At(index);
      if (!Await(lock, [&] { return entry.state == State::kFree; })) return;
      lock.unlock();
      const absl::StatusOr<bool> last = stages_.fill(entry.slot);
      lock.lock();
      entry.fill_status = last.status();
      entry.last = last.ok() && *last;
      if (entry.last) end_ = index + 1;
      if (!last.ok()) end_ = index;
      Advance(entry, last.ok() ? State::kFilled : State::kDone);
    }
  }

  void Transform(size_t worker) {
    Lock lock(mutex_);
    while (true) {
      const auto ready = [this] { return next_ >= end_ || At(next_).state == State::kFilled; };
      if (!Await(lock, ready) || next_ >= end_) return;
      Entry& entry = At(next_++);
      entry.state = State::kBusy;
      lock.unlock();
      stages_.transform(entry.slot, worker);
      lock.lock();
      Advance(entry, State::kDone);
    }
  }

  absl::Status Drain() {
    Lock lock(mutex_);
    for (uint64_t index = 0;; ++index) {
      Entry& entry = At(index);
      Await(lock, [&] { return entry.state == State::kDone; });
      CV_RETURN_IF_ERROR(entry.fill_status);
      lock.unlock();
      CV_RETURN_IF_ERROR(stages_.drain(entry.slot));
      lock.lock();
      if (entry.last) return absl::OkStatus();
      Advance(entry, State::kFree);
    }
  }

  Stages stages_;
  std::vector<Entry> entries_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopped_ = false;
  uint64_t next_ = 0;      // the first that no worker has taken
  uint64_t end_ = kNever;  // behind the last that workers take
};

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_PIPELINE_H_
