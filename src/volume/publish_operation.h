// One NodePublishVolume or NodeUnpublishVolume: binds what was staged to the pod's path.
#ifndef CRYPTVOL_VOLUME_PUBLISH_OPERATION_H_
#define CRYPTVOL_VOLUME_PUBLISH_OPERATION_H_

#include <memory>
#include <string>
#include <vector>

#include "base/undo.h"
#include "volume/environment.h"
#include "volume/requests.h"

namespace cryptvol::volume {

class PublishOperation {
 public:
  PublishOperation(const Environment& environment, const PublishRequest& request,
                   std::shared_ptr<OperationLock> lock);
  absl::Status Run();

  // Node::IsPublished.
  absl::StatusOr<bool> IsPublished();

 private:
  absl::StatusOr<bool> ShowsFilesystem(const mount::MountEntry& staged) const;
  absl::StatusOr<bool> ShowsMapping() const;
  absl::StatusOr<const mount::MountEntry*> StagedMount() const;
  absl::Status PublishMount();
  absl::Status PublishBlock();
  absl::StatusOr<std::string> StagedDevice();
  absl::StatusOr<std::string> DeviceForPod(const std::string& staged);
  absl::Status CheckSingleWriter(size_t other_targets) const;
  absl::Status PrepareTarget(bool directory);
  absl::Status Bind(const std::string& source, std::vector<std::string> options);

  const Environment& env_;
  const PublishRequest& request_;
  std::unique_ptr<DeviceWorker> worker_;
  std::vector<mount::MountEntry> table_;
  UndoStack undo_;
};

class UnpublishOperation {
 public:
  UnpublishOperation(const Environment& environment, const UnpublishRequest& request,
                     std::shared_ptr<OperationLock> lock);
  absl::Status Run();

 private:
  const Environment& env_;
  const UnpublishRequest& request_;
  std::unique_ptr<DeviceWorker> worker_;
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_PUBLISH_OPERATION_H_
