// What to do with a device, and with what is inside it: pure functions, so that each row of the
// rules can be read and tested by itself. docs/how-volumes-are-made.md explains them to users.
#ifndef CRYPTVOL_VOLUME_DECISIONS_H_
#define CRYPTVOL_VOLUME_DECISIONS_H_

#include <string>

#include "absl/status/statusor.h"
#include "block/format_record.h"
#include "volume/device_worker.h"

namespace cryptvol::volume {

enum class DeviceAction {
  kOpen,        // LUKS that may be opened
  kFormat,      // positively blank, and never completely formatted before
  kFormatTorn,  // the remains of a header of ours that a crash cut short; the caller makes sure
                // that the data area was never written, since mkfs comes after the header
};

// For a static device, whose records on this node may be old: another node may have finished, or
// begun, the format. The intent on the device itself decides, except that what was formatted here
// stays formatted.
block::FormatRecord ReconcileRecord(const std::string& volume_id, const Inspection& inspection,
                                    const block::FormatRecord& record);

// For an encrypted volume. Refusals are FAILED_PRECONDITION (in use, holds something), DATA_LOSS
// (formatted once, and now reads as nothing or as a damaged header), or the header's own error.
absl::StatusOr<DeviceAction> DecideDevice(const std::string& volume_id,
                                          const Inspection& inspection,
                                          const block::FormatRecord& record);

// Whether the header's token lets this volume use the device. `adopt_volume_id` is the user's word
// that the device of that other volume is meant.
absl::Status CheckToken(const std::string& volume_id, const std::string& adopt_volume_id,
                        const HeaderSummary& header);

enum class FilesystemAction {
  kUse,         // mount it
  kMake,        // nothing there that could be lost
  kUseIfWhole,  // mkfs was at work when something crashed: use it if it checks out, else make it
                // again provided that it was never mounted
};

// What is known when a mount volume's decrypted (or plain) device is looked at.
struct FilesystemFacts {
  filesystem::FilesystemReport report;
  block::FormatRecord record;
  const luks::VolumeToken* token = nullptr;  // null: none, or a plain volume
  std::string wanted;                        // "ext4"
  std::string luks_uuid;                     // empty for a plain volume
  bool just_formatted = false;
  bool data_reads_zero = false;  // asked only when the report shows no signature
  bool read_only = false;
};

// Refusals: FAILED_PRECONDITION (another filesystem, unknown bytes, blank and read-only), DATA_LOSS
// (there was a filesystem once).
absl::StatusOr<FilesystemAction> DecideFilesystem(const FilesystemFacts& facts);

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_DECISIONS_H_
