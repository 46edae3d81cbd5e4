// The frame around every RPC: time it, map its status, log it.
#ifndef CRYPTVOL_CSI_RPC_H_
#define CRYPTVOL_CSI_RPC_H_

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "base/status.h"
#include "csi/status_mapping.h"
#include "csi/telemetry.h"

namespace cryptvol::driver {

// `handler` is () -> absl::Status. Messages of failures name the volume, here and nowhere else.
template <typename Handler>
grpc::Status ServeRpc(Telemetry& telemetry, const char* method, const std::string& volume_id,
                      Handler handler) {
  const auto start = std::chrono::steady_clock::now();
  absl::Status status = handler();
  if (!volume_id.empty()) status = Annotate(status, "volume " + volume_id);
  grpc::Status mapped = ToGrpcStatus(status);
  telemetry.RpcEnded(method, volume_id, mapped, std::chrono::steady_clock::now() - start);
  return mapped;
}

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_RPC_H_
