// What is known, outside a device, of its first format. A volume that was formatted once is never
// formatted again, whatever its device reads.
#ifndef CRYPTVOL_BLOCK_FORMAT_RECORD_H_
#define CRYPTVOL_BLOCK_FORMAT_RECORD_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::block {

enum class FormatState {
  kNever,      // no format has begun
  kIntended,   // one has begun with these UUIDs: zeros, or a torn header, are formatted again
  kFormatted,  // it was completed: zeros are an error from now on
};

struct FormatRecord {
  FormatState state = FormatState::kNever;
  std::string luks_uuid;        // empty for a plain volume
  std::string filesystem;       // empty for a block volume
  std::string filesystem_uuid;  // planned before mkfs
  uint64_t device_bytes = 0;    // of the backing device when the format began
};

// One JSON object. Parsing is strict: INVALID_ARGUMENT for anything else, since a record that
// cannot be read must not be taken for kNever.
std::string SerializeFormatRecord(const FormatRecord& record);
absl::StatusOr<FormatRecord> ParseFormatRecord(std::string_view json);

// FAILED_PRECONDITION when `next` would forget that the device was formatted.
absl::Status CheckSuccessor(const FormatRecord& current, const FormatRecord& next);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_FORMAT_RECORD_H_
