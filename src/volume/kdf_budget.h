// How many unlocks run at once, by the memory that their key derivations take.
#ifndef CRYPTVOL_VOLUME_KDF_BUDGET_H_
#define CRYPTVOL_VOLUME_KDF_BUDGET_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "base/deadline.h"
#include "volume/kdf_ledger.h"

namespace cryptvol::volume {

// How much memory this process and its workers could still take.
struct FreeMemory {
  uint64_t bytes = 0;
  uint64_t limit = 0;  // of the control group, where that is the tightest bound; 0: the machine is
};

// First come, first served: a large derivation at the head of the queue is not overtaken for ever
// by small ones. Thread-safe.
class KdfBudget {
 public:
  // What a worker process takes besides the derivation itself; counted for each grant.
  static constexpr uint64_t kWorkerBytes = uint64_t{8} << 20;

  // With a ledger, the total is what all processes that share it may have together; without, this
  // process's alone.
  KdfBudget(uint64_t total_bytes, std::function<FreeMemory()> free_memory,
            std::unique_ptr<KdfLedger> ledger = nullptr);

  // A share of the budget, given back when it is destroyed.
  class Grant {
   public:
    Grant(KdfBudget* budget, uint64_t bytes) : budget_(budget), bytes_(bytes) {}
    Grant(Grant&& other) noexcept;
    Grant& operator=(Grant&&) = delete;
    Grant(const Grant&) = delete;
    Grant& operator=(const Grant&) = delete;
    ~Grant();

   private:
    KdfBudget* budget_;
    uint64_t bytes_;
  };

  // Waits for room. A derivation larger than the whole budget runs when nothing else does, provided
  // that the memory is really there.
  //  RESOURCE_EXHAUSTED  it can never run: the message names the memory limit that it needs
  //  DEADLINE_EXCEEDED   others were not done in time: the message says whether other processes
  //                      have the room
  absl::StatusOr<Grant> Acquire(uint64_t kdf_bytes, Deadline deadline);

  uint64_t in_use() const;
  uint64_t most_in_use() const;  // since the start, for tests and the metric

 private:
  bool WaitForRoom(std::unique_lock<std::mutex>& lock, uint64_t bytes, Deadline deadline);
  bool Take(uint64_t bytes);
  absl::Status NoRoomInTime() const;
  void GiveBack(uint64_t bytes);
  void Release(uint64_t bytes);

  const uint64_t total_;
  const std::function<FreeMemory()> free_memory_;
  const std::unique_ptr<KdfLedger> ledger_;  // may be null; guarded by mutex_
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<uint64_t> queue_;  // tickets, the oldest first
  uint64_t next_ticket_ = 0;
  uint64_t in_use_ = 0;
  uint64_t most_in_use_ = 0;
};

// The lesser of the machine's available memory and what the control group's limit (v2 or v1)
// leaves. The cache of files counts as free, since the kernel takes it back.
FreeMemory ReadFreeMemory();

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_KDF_BUDGET_H_
