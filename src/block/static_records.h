// The records of the first format of static devices, which no backend keeps: one file a volume in a
// directory of the driver's state on this node.
#ifndef CRYPTVOL_BLOCK_STATIC_RECORDS_H_
#define CRYPTVOL_BLOCK_STATIC_RECORDS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "block/format_record.h"

namespace cryptvol::block {

// Where an encrypted static volume was when it was last staged on this node, which only its
// PersistentVolume says otherwise.
struct StaticDevice {
  std::string volume_id;
  std::string device;
  std::string luks_uuid;
};

// Volume ids are any UTF-8; a file is named after the SHA-256 of the id and holds the id itself. A
// file that cannot be read, or is of another volume, is DATA_LOSS: never a volume that was not
// formatted. Thread-safe, when one call at a time runs for a volume.
class StaticRecords {
 public:
  // Makes the directory (an absolute path) if need be.
  static absl::StatusOr<StaticRecords> Open(const std::string& directory);

  // kNever for a volume without a record.
  absl::StatusOr<FormatRecord> Load(const std::string& volume_id) const;
  // FAILED_PRECONDITION when the record would go back from kFormatted.
  absl::Status Store(const std::string& volume_id, const FormatRecord& record) const;
  // The file that holds it, if there is a record.
  std::string PathOf(const std::string& volume_id) const;

  absl::Status Remove(const std::string& volume_id) const;  // absent is success

  // Kept in files of their own, beside the records, so that an older driver reads these still. Writes
  // only what is not on record already.
  absl::Status StoreDevice(const StaticDevice& device) const;
  // By volume id, ascending. What cannot be read is left out: nothing depends on it.
  absl::StatusOr<std::vector<StaticDevice>> ListDevices() const;
  std::string DevicePathOf(const std::string& volume_id) const;

 private:
  explicit StaticRecords(std::string directory) : directory_(std::move(directory)) {}

  std::string directory_;
};

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_STATIC_RECORDS_H_
