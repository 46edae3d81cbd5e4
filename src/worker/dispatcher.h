// Carries out one request of the driver inside the worker process.
#ifndef CRYPTVOL_WORKER_DISPATCHER_H_
#define CRYPTVOL_WORKER_DISPATCHER_H_

#include <nlohmann/json.hpp>

#include "worker/luks_session.h"
#include "worker/protocol.h"

namespace cryptvol::worker {

class Dispatcher {
 public:
  // The reply to a request, whatever the request.
  nlohmann::json Handle(const Message& request);

 private:
  absl::StatusOr<nlohmann::json> Call(const std::string& name, const nlohmann::json& args,
                                      const SecretBytes& secret);
  absl::StatusOr<nlohmann::json> CallMountPoint(const std::string& name,
                                                const nlohmann::json& args);
  absl::StatusOr<nlohmann::json> CallLuks(const std::string& name, const nlohmann::json& args,
                                          const SecretBytes& secret);

  LuksSession session_;
};

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_DISPATCHER_H_
