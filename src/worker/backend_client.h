// A backend whose own storage is touched by another process only, so that a disk that hangs holds up neither the
// driver's threads nor its end.
#ifndef CRYPTVOL_WORKER_BACKEND_CLIENT_H_
#define CRYPTVOL_WORKER_BACKEND_CLIENT_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "block/backend.h"

namespace cryptvol::worker {

// How long a call is waited for.
struct BackendLimits {
  std::chrono::milliseconds reading{15'000};
  std::chrono::milliseconds writing{60'000};
  // Any call, since one was not answered in time and until one is.
  std::chrono::milliseconds doubtful{2'000};
};

// A call that is not answered in time is ABORTED; it goes on in the other process, and until it has ended, whatever
// else is asked of that volume is ABORTED at once: nothing is overtaken by what was asked before it. That a volume is
// not attached is known without asking. A process that ended, for which the call is INTERNAL, is replaced by the next
// call. Thread-safe.
class BackendClient final : public block::Backend {
 public:
  // `spec` is a --backend option, `program` the path of cryptvol-worker. What block::OpenBackend fails with; a disk
  // that does not answer is no failure.
  static absl::StatusOr<std::unique_ptr<BackendClient>> Open(const std::string& program,
                                                             const std::string& spec,
                                                             const std::string& state_dir,
                                                             BackendLimits limits = {});
  // Does not wait for a disk that hangs.
  ~BackendClient() override;

  // Calls that were not answered in time and still are not.
  int unanswered() const;

  std::string name() const override { return spec_; }
  absl::Status LockForDriver(block::LockKeeper keep) override;
  std::string Location(const std::string& volume_id) const override;
  absl::StatusOr<block::VolumeInfo> Create(const block::VolumeSpec& spec) override;
  absl::Status Delete(const std::string& volume_id) override;
  absl::StatusOr<block::VolumeInfo> Get(const std::string& volume_id) override;
  absl::StatusOr<std::vector<block::VolumeInfo>> List() override;
  absl::StatusOr<uint64_t> AvailableBytes() override;
  absl::StatusOr<std::string> Attach(const std::string& volume_id, bool read_only) override;
  absl::StatusOr<std::optional<std::string>> AttachedDevice(const std::string& volume_id) override;
  absl::Status Detach(const std::string& volume_id) override;
  absl::StatusOr<block::FormatRecord> LoadFormatRecord(const std::string& volume_id) override;
  absl::Status StoreFormatRecord(const std::string& volume_id,
                                 const block::FormatRecord& record) override;

 private:
  class Connection;
  struct Call {
    const char* name;
    std::string volume;  // empty: of the whole backend
    std::chrono::milliseconds limit;
    nlohmann::json args;
  };

  BackendClient(std::string program, std::string spec, std::string state_dir, BackendLimits limits)
      : program_(std::move(program)),
        spec_(std::move(spec)),
        state_dir_(std::move(state_dir)),
        limits_(limits) {}

  absl::StatusOr<nlohmann::json> Ask(const Call& call);
  absl::StatusOr<std::shared_ptr<Connection>> Connected();
  void TakeLock(UniqueFd lock);
  Call Reading(const char* name, const std::string& volume_id) const;
  Call Writing(const char* name, const std::string& volume_id) const;

  const std::string program_;
  const std::string spec_;
  const std::string state_dir_;
  const BackendLimits limits_;
  mutable std::mutex mutex_;
  std::shared_ptr<Connection> connection_;  // guarded by mutex_
  block::LockKeeper keep_lock_;             // until the lock came; guarded by mutex_
};

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_BACKEND_CLIENT_H_
