// absl::Status -> grpc::Status, the only place where one becomes the other.
#ifndef CRYPTVOL_CSI_STATUS_MAPPING_H_
#define CRYPTVOL_CSI_STATUS_MAPPING_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace cryptvol::driver {

// A message travels in an HTTP/2 trailer, of which peers take 8 KiB, with each byte that is not
// printable ASCII written as three.
inline constexpr size_t kMaxMessageBytes = 2048;

// The same code. The message is never empty, as CSI demands, and at most kMaxMessageBytes: what is
// longer is cut at a character's border and says so.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_STATUS_MAPPING_H_
