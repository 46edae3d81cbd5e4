// Volumes as sparse files of one directory on this node.
//
// DIR/volumes/ID.img is the volume, DIR/volumes/ID.json what is known of it. The image comes first
// when a volume is made, so an image alone is a creation that was cut short; it goes first when a
// volume is deleted, so metadata alone is a deletion that was cut short, and the volume stays
// listed until a repeat ends it. DIR/lock is held by the driver. DIR/id tells this directory from the
// empty one that is seen where its disk is not mounted: the node remembers it.
#ifndef CRYPTVOL_BLOCK_LOOP_BACKEND_H_
#define CRYPTVOL_BLOCK_LOOP_BACKEND_H_

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "block/backend.h"
#include "block/directory_identity.h"
#include "block/loop_metadata.h"

namespace cryptvol::block {

// Metadata that cannot be read, and an image that vanished or has another size than its metadata
// says, are DATA_LOSS everywhere, naming the file: never an absent volume.
class LoopBackend final : public Backend {
 public:
  // Makes the directory (an absolute path) if need be, unless `identity_file` says that it was there
  // before: then nothing is made, and whatever reads or writes it, now or later, is
  // FAILED_PRECONDITION until the directory with that identity is there. Makes the file otherwise; it
  // has to outlive restarts, and is best not on the same disk.
  static absl::StatusOr<std::unique_ptr<LoopBackend>> Open(const std::string& directory,
                                                           const std::string& identity_file);

  std::string name() const override { return "loop:" + directory_; }
  // Of a directory that is not there, the lock is taken when it is.
  absl::Status LockForDriver(LockKeeper keep) override;
  std::string Location(const std::string& volume_id) const override {
    return LocationIn(directory_, volume_id);
  }
  static std::string LocationIn(const std::string& directory, const std::string& volume_id);
  // Refuses to replace an image without metadata that has data in it (FAILED_PRECONDITION): that is
  // no unfinished creation.
  absl::StatusOr<VolumeInfo> Create(const VolumeSpec& spec) override;
  // Detaches the volume, if nothing has it open, and erases its LUKS header, before deleting it.
  absl::Status Delete(const std::string& volume_id) override;
  absl::StatusOr<VolumeInfo> Get(const std::string& volume_id) override;
  // A volume whose metadata is damaged is in it, with its damage: a list without it would say that it
  // is gone. Metadata that cannot be read for another reason fails the list.
  absl::StatusOr<std::vector<VolumeInfo>> List() override;
  absl::StatusOr<uint64_t> AvailableBytes() override;
  absl::StatusOr<std::string> Attach(const std::string& volume_id, bool read_only) override;
  absl::StatusOr<std::optional<std::string>> AttachedDevice(const std::string& volume_id) override;
  absl::Status Detach(const std::string& volume_id) override;
  absl::StatusOr<FormatRecord> LoadFormatRecord(const std::string& volume_id) override;
  // FAILED_PRECONDITION when the record would go back from kFormatted.
  absl::Status StoreFormatRecord(const std::string& volume_id, const FormatRecord& record) override;

 private:
  LoopBackend(std::string directory, std::string identity_file)
      : directory_(std::move(directory)),
        volumes_(directory_ + "/volumes"),
        identity_(directory_, std::move(identity_file)) {}

  absl::Status CheckDirectory() const;
  absl::Status TakeLock() const;
  std::string ImagePath(const std::string& volume_id) const { return Location(volume_id); }
  std::string MetadataPath(const std::string& volume_id) const;
  absl::StatusOr<LoopMetadata> LoadMetadata(const std::string& volume_id) const;
  absl::Status StoreMetadata(const LoopMetadata& metadata) const;
  void EraseHeader(const std::string& volume_id) const;
  absl::Status CheckImage(const VolumeSpec& spec) const;
  absl::Status CheckRoom(const VolumeSpec& spec);
  absl::Status RemoveUnfinishedImage(const std::string& volume_id) const;
  absl::Status CreateImage(const VolumeSpec& spec) const;
  absl::Status RemoveTemporaries(const std::string& volume_id) const;

  const std::string directory_;
  const std::string volumes_;
  DirectoryIdentity identity_;  // does not change after Open
  std::mutex create_mutex_;     // from the look at the room until the new image counts against it
  mutable std::mutex lock_mutex_;
  mutable LockKeeper keep_lock_;  // while the lock has yet to be taken; guarded by lock_mutex_
};

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_LOOP_BACKEND_H_
