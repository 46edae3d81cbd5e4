// Creating, listing and deleting volumes of the backends.
#ifndef CRYPTVOL_VOLUME_PROVISIONER_H_
#define CRYPTVOL_VOLUME_PROVISIONER_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "volume/environment.h"
#include "volume/requests.h"
#include "volume/storage.h"

namespace cryptvol::volume {

// The id of the volume with this name: the name itself when it is safe as a file name (so that
// people recognise a PersistentVolume's), else a digest of it.
std::string VolumeIdFor(const std::string& name);

// Thread-safe for distinct volumes; the caller holds the volume's lock.
class Provisioner {
 public:
  explicit Provisioner(Environment environment)
      : env_(std::move(environment)), storage_(env_.storage) {}

  // ALREADY_EXISTS when there is one of that name with another size, backend or parameters.
  // RESOURCE_EXHAUSTED when the backend has no room.
  absl::StatusOr<block::VolumeInfo> Create(const CreateRequest& request);

  // Absent is success, and so is a static volume, which keeps what it has. FAILED_PRECONDITION while
  // it is staged.
  absl::Status Delete(const std::string& volume_id);

  absl::StatusOr<block::VolumeInfo> Get(const std::string& volume_id);  // NOT_FOUND

  // All volumes of all backends, by id, ascending.
  absl::StatusOr<std::vector<block::VolumeInfo>> List();

  // Of one backend (empty: the default).
  absl::StatusOr<uint64_t> AvailableBytes(const std::string& backend);

 private:
  absl::Status DeleteFromBackends(const std::string& volume_id);
  absl::Status DeleteFrom(block::Backend& backend, const std::string& volume_id);
  absl::Status CloseTrialMapping(const std::string& volume_id);

  const Environment env_;
  Storage* const storage_;
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_PROVISIONER_H_
