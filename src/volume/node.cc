#include "volume/node.h"

#include <utility>

#include "base/status.h"
#include "volume/paths.h"
#include "volume/publish_operation.h"
#include "volume/stage_operation.h"
#include "volume/unstage_operation.h"

namespace cryptvol::volume {

absl::StatusOr<StageOutcome> Node::Stage(StageRequest request,
                                         std::shared_ptr<OperationLock> lock) {
  request.staging_path = ResolveMountPoint(request.staging_path);
  StageOperation operation(env_, request, std::move(lock));
  CV_RETURN_IF_ERROR(operation.Run());
  return operation.outcome();
}

absl::Status Node::Unstage(UnstageRequest request, std::shared_ptr<OperationLock> lock) {
  request.staging_path = ResolveMountPoint(request.staging_path);
  return UnstageOperation(env_, request, std::move(lock)).Run();
}

absl::Status Node::Publish(PublishRequest request, std::shared_ptr<OperationLock> lock) {
  request.staging_path = ResolveMountPoint(request.staging_path);
  request.target_path = ResolveMountPoint(request.target_path);
  return PublishOperation(env_, request, std::move(lock)).Run();
}

absl::Status Node::Unpublish(UnpublishRequest request, std::shared_ptr<OperationLock> lock) {
  request.target_path = ResolveMountPoint(request.target_path);
  return UnpublishOperation(env_, request, std::move(lock)).Run();
}

absl::StatusOr<bool> Node::IsPublished(PublishRequest& request) {
  request.staging_path = ResolveMountPoint(request.staging_path);
  request.target_path = ResolveMountPoint(request.target_path);
  return PublishOperation(env_, request, nullptr).IsPublished();
}

absl::StatusOr<RotationResult> Node::RotateKeys(const RotateRequest& request,
                                                std::shared_ptr<OperationLock> lock) {
  auto result = RotateStaged(env_, request, std::move(lock));
  ReportRotation(env_, request.volume_id, result);
  return result;
}

absl::StatusOr<filesystem::Usage> Node::GetUsage(StatsRequest request) {
  request.volume_path = ResolveMountPoint(request.volume_path);
  CV_ASSIGN_OR_RETURN(std::vector<mount::MountEntry> table, env_.read_mount_table());
  if (mount::FindMount(table, request.volume_path) == nullptr) {
    return MakeStatus(absl::StatusCode::kNotFound, "the volume is not mounted at {}",
                      request.volume_path);
  }
  return env_.workers->New(nullptr)->GetUsage(request.volume_path,
                                              Deadline::After(env_.limits.usage));
}

absl::Status Node::Probe() {
  return env_.workers->New(nullptr)->ProbeDmCrypt(Deadline::After(env_.limits.map));
}

}  // namespace cryptvol::volume
