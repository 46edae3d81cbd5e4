// One NodeStageVolume, from the device to the mounted filesystem. The order of its steps is what
// keeps data safe; docs/how-volumes-are-made.md tells it in prose.
#ifndef CRYPTVOL_VOLUME_STAGE_OPERATION_H_
#define CRYPTVOL_VOLUME_STAGE_OPERATION_H_

#include <memory>
#include <optional>
#include <string>

#include "base/undo.h"
#include "volume/decisions.h"
#include "volume/environment.h"
#include "volume/requests.h"
#include "volume/unlock.h"

namespace cryptvol::volume {

class StageOperation {
 public:
  StageOperation(const Environment& environment, const StageRequest& request,
                 std::shared_ptr<OperationLock> lock);

  // On an error everything that this call acquired has been given back, and the error says what it
  // was.
  absl::Status Run();

  StageOutcome outcome() const { return outcome_; }  // after Run was OK

 private:
  enum class Existing { kNone, kUsable };

  absl::Status CheckRequest() const;
  bool IsUnused() const;
  absl::StatusOr<bool> AlreadyMounted();
  absl::Status Attach();
  absl::Status Inspect();

  // stage_device.cc
  absl::Status PrepareEncrypted();
  absl::Status CloseTrialMapping();
  absl::Status CheckSameHeader() const;
  absl::Status PreparePlain();
  absl::StatusOr<Existing> HandleExistingMapping();
  absl::Status CheckFormat(bool torn);
  absl::Status FormatDevice(bool torn);
  absl::StatusOr<HeaderPlan> PlanHeader() const;
  absl::Status RecordIntent(const HeaderPlan& plan, bool torn);
  absl::Status OpenDevice();
  absl::Status Activate();

  // stage_filesystem.cc
  absl::Status EnsureFilesystem();
  absl::Status WithWayIn(const absl::Status& status) const;
  absl::StatusOr<FilesystemFacts> GatherFacts();
  absl::Status UseIfWhole(const filesystem::FilesystemReport& report);
  absl::Status MakeFilesystem();
  uint64_t DataBytes() const;  // what a filesystem has
  absl::Status CheckFilesystem(bool needed);

  // stage_operation.cc again: what makes it final
  absl::Status Complete();
  absl::Status StoreReadyToken();
  void RememberDevice();
  absl::Status MountStaged();
  void FollowSecret();

  Deadline After(std::chrono::milliseconds limit) const { return Deadline::After(limit); }
  std::vector<std::pair<int, int>> Inherited() const;
  const luks::VolumeToken* token() const;
  bool read_only() const;  // as asked for, or as the device is
  std::string luks_uuid() const;

  const Environment& env_;
  const StageRequest& request_;
  const std::shared_ptr<OperationLock> lock_;
  const std::string mapping_name_;
  std::unique_ptr<DeviceWorker> worker_;
  std::unique_ptr<VolumeStorage> storage_;

  std::string device_;  // the raw one, as attached
  Inspection inspection_;
  block::FormatRecord record_;
  std::optional<luks::VolumeToken> planned_token_;  // of a header that this operation wrote
  // Where the filesystem is: the mapping, or the raw device of a plain volume.
  std::string data_device_;
  std::string filesystem_uuid_;  // found or made
  bool just_formatted_ = false;
  StageOutcome outcome_;
  std::optional<Unlocked> unlocked_;  // a header that was there before

  // Last member, so that it runs first: an undo uses the others.
  UndoStack undo_;
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_STAGE_OPERATION_H_
