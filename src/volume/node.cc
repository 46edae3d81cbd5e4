#include "volume/node.h"

#include <optional>
#include <utility>

#include "base/status.h"
#include "mount/mount_point.h"
#include "volume/publish_operation.h"
#include "volume/stage_operation.h"
#include "volume/unstage_operation.h"

namespace cryptvol::volume {

namespace {

// As the mount table has it, if that is known without waiting for a directory on the way: it is the
// very name of a mount, or the kernel knows where its links lead.
absl::StatusOr<std::optional<std::string>> ResolveAtOnce(const Environment& env,
                                                         const std::string& path) {
  CV_ASSIGN_OR_RETURN(const std::vector<mount::MountEntry> table, env.read_mount_table());
  const mount::MountEntry* const there = mount::FindMount(table, path);
  return there != nullptr ? there->target : mount::ResolveCached(path);
}

// Else by a worker, which holds the lock if it does not come back.
absl::Status Resolve(const Environment& env, const std::shared_ptr<OperationLock>& lock,
                     std::string& path) {
  CV_ASSIGN_OR_RETURN(std::optional<std::string> resolved, ResolveAtOnce(env, path));
  if (!resolved.has_value()) {
    CV_ASSIGN_OR_RETURN(const auto place, EnterInspections(env));
    CV_ASSIGN_OR_RETURN(resolved, env.workers->New(lock)->ResolveMountPoint(
                                      path, Deadline::After(env.limits.path)));
  }
  path = *std::move(resolved);
  return absl::OkStatus();
}

absl::Status ResolveWithoutLock(const Environment& env, std::string& path) {
  CV_ASSIGN_OR_RETURN(std::optional<std::string> resolved, ResolveAtOnce(env, path));
  if (resolved.has_value()) {
    path = *std::move(resolved);
    return absl::OkStatus();
  }
  const auto visit = env.places->NewVisit(path);
  CV_RETURN_IF_ERROR(visit->Enter(/*at_once=*/1, Deadline::After(env.limits.path)));
  return Resolve(env, visit, path);
}

}  // namespace

absl::StatusOr<StageOutcome> Node::Stage(StageRequest request,
                                         std::shared_ptr<OperationLock> lock) {
  CV_RETURN_IF_ERROR(Resolve(env_, lock, request.staging_path));
  StageOperation operation(env_, request, std::move(lock));
  CV_RETURN_IF_ERROR(operation.Run());
  return operation.outcome();
}

absl::Status Node::Unstage(UnstageRequest request, std::shared_ptr<OperationLock> lock) {
  CV_RETURN_IF_ERROR(Resolve(env_, lock, request.staging_path));
  return UnstageOperation(env_, request, std::move(lock)).Run();
}

absl::Status Node::Publish(PublishRequest request, std::shared_ptr<OperationLock> lock) {
  CV_RETURN_IF_ERROR(Resolve(env_, lock, request.staging_path));
  CV_RETURN_IF_ERROR(Resolve(env_, lock, request.target_path));
  return PublishOperation(env_, request, std::move(lock)).Run();
}

absl::Status Node::Unpublish(UnpublishRequest request, std::shared_ptr<OperationLock> lock) {
  CV_RETURN_IF_ERROR(Resolve(env_, lock, request.target_path));
  return UnpublishOperation(env_, request, std::move(lock)).Run();
}

absl::StatusOr<bool> Node::IsPublished(PublishRequest& request) {
  CV_RETURN_IF_ERROR(ResolveWithoutLock(env_, request.target_path));
  // Of a block volume nothing is mounted there.
  if (!request.access.block) CV_RETURN_IF_ERROR(ResolveWithoutLock(env_, request.staging_path));
  return PublishOperation(env_, request, nullptr).IsPublished();
}

absl::StatusOr<RotationResult> Node::RotateKeys(const RotateRequest& request,
                                                std::shared_ptr<OperationLock> lock) {
  auto result = RotateStaged(env_, request, std::move(lock));
  if (absl::IsAborted(result.status())) return result;  // it is tried again
  ReportRotation(env_, request.volume_id, result);
  return result;
}

void Node::ReportFailedRotation(const std::string& volume_id, const absl::Status& status) const {
  ReportRotation(env_, volume_id, status);
}

absl::StatusOr<filesystem::Usage> Node::GetUsage(StatsRequest request) {
  // kubelet asks all the time, and each time a process would be left behind.
  const auto visit = env_.places->NewVisit(request.volume_path);
  const Deadline deadline = Deadline::After(env_.limits.usage);
  CV_RETURN_IF_ERROR(visit->Enter(/*at_once=*/1, deadline));
  CV_RETURN_IF_ERROR(Resolve(env_, visit, request.volume_path));
  CV_ASSIGN_OR_RETURN(std::vector<mount::MountEntry> table, env_.read_mount_table());
  const mount::MountEntry* const there = mount::FindMount(table, request.volume_path);
  if (there == nullptr || IsOfAnother(*there, request.volume_id)) {
    return MakeStatus(absl::StatusCode::kNotFound, "the volume is not mounted at {}{}",
                      request.volume_path,
                      there == nullptr ? "" : ": " + there->source + " of another volume is");
  }
  return env_.workers->New(visit)->GetUsage(request.volume_path, deadline);
}

// The mapping of one. What is not encrypted, and devices bound to files, do not tell whose they are.
bool Node::IsOfAnother(const mount::MountEntry& entry, const std::string& volume_id) const {
  return IsMappingPath(entry.source) &&
         entry.source != MappingPath(MappingName(env_.driver_name, volume_id));
}

absl::Status Node::Probe() {
  return env_.workers->New(nullptr)->ProbeDmCrypt(Deadline::After(env_.limits.map));
}

}  // namespace cryptvol::volume
