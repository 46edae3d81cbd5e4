// Where a volume's bytes are on this node: with one of our backends, or on a device that the
// PersistentVolume names.
#ifndef CRYPTVOL_VOLUME_STORAGE_H_
#define CRYPTVOL_VOLUME_STORAGE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "block/backend.h"
#include "block/static_records.h"
#include "volume/options.h"

namespace cryptvol::volume {

// One volume's storage. Used under the volume's lock.
class VolumeStorage {
 public:
  virtual ~VolumeStorage() = default;

  // True when the device belongs to somebody else: its intent is recorded on the device too, since
  // another node does not see our records.
  virtual bool is_static() const = 0;

  // Where a person finds it when it is not attached.
  virtual std::string location() const = 0;

  // What a person does who destroyed the volume's content on purpose, so that it may be formatted
  // again: "remove FILE".
  virtual std::string WayToStartOver() const = 0;

  // Whether Detach would take away what an earlier call attached. Static devices are never
  // detached.
  virtual absl::StatusOr<bool> IsAttached() = 0;
  virtual absl::StatusOr<std::string> Attach(bool read_only) = 0;
  virtual absl::Status Detach() = 0;
  virtual absl::StatusOr<block::FormatRecord> LoadRecord() = 0;
  virtual absl::Status StoreRecord(const block::FormatRecord& record) = 0;
  // It is open with the header of that UUID. A backend knows its volumes; where a static one is, is
  // put on record, for the list of keys.
  virtual absl::Status Remember(const std::string& luks_uuid) = 0;
};

// All storage of this node. Thread-safe.
class Storage {
 public:
  // The first backend is the default one. `static_records` must not be null.
  Storage(std::vector<std::unique_ptr<block::Backend>> backends,
          std::unique_ptr<block::StaticRecords> static_records);

  // The backend with that name ("loop:/srv/v"; empty: the default). INVALID_ARGUMENT naming those
  // there are.
  absl::StatusOr<block::Backend*> FindBackend(const std::string& name) const;

  // The backend that has this volume, or null. When one cannot be asked, and no other has the volume, its error;
  // but null for a static volume that was staged on this node.
  absl::StatusOr<block::Backend*> FindOwner(const std::string& volume_id) const;

  // NOT_FOUND when no backend has it and the options name no device. FAILED_PRECONDITION when both
  // do.
  absl::StatusOr<std::unique_ptr<VolumeStorage>> Open(const std::string& volume_id,
                                                      const VolumeOptions& options) const;

  const std::vector<std::unique_ptr<block::Backend>>& backends() const { return backends_; }
  const block::StaticRecords& static_records() const { return *static_records_; }

 private:
  bool IsKnownAsStatic(const std::string& volume_id) const;

  std::vector<std::unique_ptr<block::Backend>> backends_;
  std::unique_ptr<block::StaticRecords> static_records_;
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_STORAGE_H_
