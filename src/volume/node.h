// What a node does with a volume, one function for each of CSI's node calls.
//
// Thread-safe for distinct volumes; the caller hands over the volume's lock, so that a worker that
// cannot be killed keeps the volume locked. State is read from the kernel and the device each time.
#ifndef CRYPTVOL_VOLUME_NODE_H_
#define CRYPTVOL_VOLUME_NODE_H_

#include <memory>

#include "volume/environment.h"
#include "volume/key_rotation.h"
#include "volume/requests.h"

namespace cryptvol::volume {

class Node {
 public:
  explicit Node(Environment environment) : env_(std::move(environment)) {}

  //  ALREADY_EXISTS        staged, otherwise than asked
  //  UNAUTHENTICATED       no keyslot opens with the key
  //  FAILED_PRECONDITION   in use, not blank, not ours, not mountable as asked; a tool or dm-crypt
  //                        is missing
  //  RESOURCE_EXHAUSTED    the key derivation needs more memory than there can be
  //  DATA_LOSS             damaged, or no longer what it was
  //  DEADLINE_EXCEEDED, ABORTED   try again; the second while the device does not answer
  // In every case the device is as it was.
  absl::StatusOr<StageOutcome> Stage(StageRequest request, std::shared_ptr<OperationLock> lock);

  // Not staged is success. FAILED_PRECONDITION says which processes and mounts keep it busy.
  absl::Status Unstage(UnstageRequest request, std::shared_ptr<OperationLock> lock);

  absl::Status Publish(PublishRequest request, std::shared_ptr<OperationLock> lock);
  absl::Status Unpublish(UnpublishRequest request, std::shared_ptr<OperationLock> lock);

  // Whether the target shows the volume as asked for. Reads what the kernel knows, and takes no lock.
  // Resolves the request's paths, in place: it holds a Secret and has no copies. ABORTED or
  // DEADLINE_EXCEEDED when a directory on the way to one does not answer.
  absl::StatusOr<bool> IsPublished(PublishRequest& request);

  // Brings the keyslots of a staged volume in line with its Secret, while it is in use; the outcome
  // is reported to the observer and the log too. FAILED_PRECONDITION when it is not staged here, or
  // read-only.
  absl::StatusOr<RotationResult> RotateKeys(const RotateRequest& request,
                                            std::shared_ptr<OperationLock> lock);

  // For one that could not be begun.
  void ReportFailedRotation(const std::string& volume_id, const absl::Status& status) const;

  // NOT_FOUND when the volume is not at that path, or another one is.
  absl::StatusOr<filesystem::Usage> GetUsage(StatsRequest request);

  // Whether this node can map encrypted volumes at all.
  absl::Status Probe();

 private:
  bool IsOfAnother(const mount::MountEntry& entry, const std::string& volume_id) const;

  Environment env_;
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_NODE_H_
