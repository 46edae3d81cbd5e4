// /metrics for Prometheus and /healthz for kubelet's liveness probe, over plain HTTP.
#ifndef CRYPTVOL_CSI_HTTP_SERVER_H_
#define CRYPTVOL_CSI_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::driver {

class HttpServer {
 public:
  virtual ~HttpServer() = default;

  // Serves until it is destroyed. /healthz answers 200, or 503 with the reason. The functions are
  // called from the server's own threads.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& address,
                                                           std::function<std::string()> metrics,
                                                           std::function<absl::Status()> health);
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_HTTP_SERVER_H_
