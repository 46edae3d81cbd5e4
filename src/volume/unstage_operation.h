// One NodeUnstageVolume: unmount, unmap, detach; each step that is already done is skipped.
#ifndef CRYPTVOL_VOLUME_UNSTAGE_OPERATION_H_
#define CRYPTVOL_VOLUME_UNSTAGE_OPERATION_H_

#include <memory>
#include <string>

#include "volume/environment.h"
#include "volume/requests.h"

namespace cryptvol::volume {

class UnstageOperation {
 public:
  UnstageOperation(const Environment& environment, const UnstageRequest& request,
                   std::shared_ptr<OperationLock> lock);
  absl::Status Run();

 private:
  absl::Status Unmount();
  absl::Status WriteBack(const std::string& device);
  absl::Status Unmap();
  absl::Status Detach();
  absl::Status DetachFrom(block::Backend& backend, const std::vector<mount::MountEntry>& table);

  const Environment& env_;
  const UnstageRequest& request_;
  const std::string mapping_name_;
  std::unique_ptr<DeviceWorker> worker_;
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_UNSTAGE_OPERATION_H_
