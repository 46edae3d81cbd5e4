// The node's storage and workers, as the driver has them, for one command.
#ifndef CRYPTVOL_CSI_MAINTENANCE_TOOLS_H_
#define CRYPTVOL_CSI_MAINTENANCE_TOOLS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/secret_bytes.h"
#include "csi/options.h"
#include "volume/environment.h"
#include "worker/client.h"

namespace cryptvol::driver {

struct Tools {
  std::unique_ptr<volume::Storage> storage;
  std::unique_ptr<worker::ClientFactory> workers;
  volume::FilesystemTools filesystem_tools;
  std::unique_ptr<volume::KdfBudget> budget;
  volume::Observer observer;
  volume::Environment environment;
};

absl::StatusOr<std::unique_ptr<volume::Storage>> OpenStorage(const Options& options);
absl::StatusOr<std::unique_ptr<Tools>> OpenTools(const Options& options);

// The bytes of the file as they are, as `cryptsetup --key-file` takes them; "-" is standard input.
absl::StatusOr<SecretBytes> ReadKey(const std::string& path);

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_MAINTENANCE_TOOLS_H_
