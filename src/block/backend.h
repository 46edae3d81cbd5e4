// Where volumes come from. An implementation allocates storage and makes it appear as a block
// device on this node; it knows nothing of encryption beyond the room that a header takes.
#ifndef CRYPTVOL_BLOCK_BACKEND_H_
#define CRYPTVOL_BLOCK_BACKEND_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "block/format_record.h"

namespace cryptvol::block {

struct VolumeSpec {
  std::string volume_id;        // safe as a file name: [A-Za-z0-9][A-Za-z0-9._-]{0,127}
  std::string name;             // the CreateVolume name; any bytes, up to 128
  uint64_t capacity_bytes = 0;  // what the user can use
  uint64_t header_bytes = 0;    // added on top for the LUKS header; 0 for a plain volume
  std::map<std::string, std::string> parameters;  // the StorageClass's, kept to compare repeats
};

struct VolumeInfo {
  VolumeSpec spec;
  bool attached = false;
  // Of one in a list whose record cannot be read; of `spec` only the id is known then.
  absl::Status damage = absl::OkStatus();
};

using LockKeeper = std::function<void(UniqueFd)>;

// Thread-safe. Every call may be repeated, also after a crash in the middle of the first one; per
// volume the caller makes sure that one call runs at a time.
class Backend {
 public:
  virtual ~Backend() = default;

  // As in --backend: "loop:/var/lib/cryptvol".
  virtual std::string name() const = 0;

  // Keeps a second driver from serving the same storage: FAILED_PRECONDITION when one does. `keep` is given the
  // lock, now or, when the storage is not there yet, during a later call; it is held until that descriptor is closed.
  // The command-line tools work beside the driver and do not call it.
  virtual absl::Status LockForDriver(LockKeeper /*keep*/) { return absl::OkStatus(); }

  // Where a person finds a volume that is not attached: what `cryptsetup open` or `losetup` can be
  // given.
  virtual std::string Location(const std::string& volume_id) const = 0;

  // A volume that reads zero. RESOURCE_EXHAUSTED when the backend has no room. When the volume
  // exists already, its info (the caller compares it with what was asked).
  virtual absl::StatusOr<VolumeInfo> Create(const VolumeSpec& spec) = 0;

  // Absent is success. FAILED_PRECONDITION while it is attached.
  virtual absl::Status Delete(const std::string& volume_id) = 0;

  virtual absl::StatusOr<VolumeInfo> Get(const std::string& volume_id) = 0;  // NOT_FOUND

  // By volume id, ascending; damaged ones too.
  virtual absl::StatusOr<std::vector<VolumeInfo>> List() = 0;

  // Bytes that new volumes may still take, with what existing ones were promised set aside.
  virtual absl::StatusOr<uint64_t> AvailableBytes() = 0;

  // The path of the block device, attaching it if need be. NOT_FOUND; ALREADY_EXISTS when it is
  // attached the other way (read-only or not).
  virtual absl::StatusOr<std::string> Attach(const std::string& volume_id, bool read_only) = 0;

  // The path of the block device, if the volume is attached. Needs no metadata.
  virtual absl::StatusOr<std::optional<std::string>> AttachedDevice(
      const std::string& volume_id) = 0;

  // Absent, and not attached, are success. FAILED_PRECONDITION while something has it open; the node of
  // a device that is bound somewhere does not count as open, so the caller has to look for such binds.
  virtual absl::Status Detach(const std::string& volume_id) = 0;

  // The record of the first format, durable when the call returns.
  virtual absl::StatusOr<FormatRecord> LoadFormatRecord(const std::string& volume_id) = 0;
  virtual absl::Status StoreFormatRecord(const std::string& volume_id,
                                         const FormatRecord& record) = 0;
};

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_BACKEND_H_
