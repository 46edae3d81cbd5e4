// Where the content goes when only its proof is wanted.
#ifndef CRYPTVOL_SNAPSHOT_NULL_SINK_H_
#define CRYPTVOL_SNAPSHOT_NULL_SINK_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "base/stream.h"

namespace cryptvol::snapshot {

class NullSink : public ByteSink {
 public:
  absl::Status Write(std::span<const uint8_t>) override { return absl::OkStatus(); }
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_NULL_SINK_H_
