// What the loop backend keeps beside each image: DIR/volumes/VOLUME_ID.json.
#ifndef CRYPTVOL_BLOCK_LOOP_METADATA_H_
#define CRYPTVOL_BLOCK_LOOP_METADATA_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "block/backend.h"
#include "block/format_record.h"

namespace cryptvol::block {

struct LoopMetadata {
  VolumeSpec spec;
  FormatRecord record;
};

// INVALID_ARGUMENT when the volume's name or parameters are not UTF-8.
absl::StatusOr<std::string> SerializeLoopMetadata(const LoopMetadata& metadata);

// Strict, as ParseFormatRecord.
absl::StatusOr<LoopMetadata> ParseLoopMetadata(std::string_view json);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_LOOP_METADATA_H_
