// Every option of the driver, in one place, with one validation.
#ifndef CRYPTVOL_CSI_OPTIONS_H_
#define CRYPTVOL_CSI_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/log.h"
#include "volume/header_escrow.h"

namespace cryptvol::driver {

struct Options {
  std::string endpoint = "unix:///run/cryptvol/csi.sock";
  std::string node_id;
  std::vector<std::string> backends;  // "loop:DIR"; the first is the default
  std::string driver_name = "csi.cryptvol.io";
  std::string state_dir = "/var/lib/cryptvol/state";
  std::string kdf_memory_budget = "256MiB";
  std::string metrics_address;           // "127.0.0.1:9810"; empty: none
  std::string kubelet_registration_dir;  // empty: a node-driver-registrar does it, or nobody
  std::string kubelet_endpoint;          // the endpoint's path as kubelet sees it; empty: as ours
  std::string log_level = "info";
  std::string log_format = "text";
  uint32_t drain_seconds = 25;           // less than Kubernetes' 30 s between SIGTERM and SIGKILL
  std::string header_escrow;             // a directory; empty: headers are not saved
  std::string header_escrow_recipients;  // a file of age recipients
  std::string worker;                    // path of cryptvol-worker; empty: beside this program

  // Filled by ValidateOptions:
  std::string socket_path;
  uint64_t kdf_memory_bytes = 0;
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
};

// INVALID_ARGUMENT, naming the flag and what it takes.
absl::Status ValidateOptions(Options& options);

// The directory, which is not touched (it may not answer), and the recipients, read from their file.
// INVALID_ARGUMENT names the flag.
absl::StatusOr<volume::HeaderEscrow> OpenEscrow(const Options& options);

// Where the driver and the commands beside it tell each other what their key derivations take.
std::string KdfLedgerPath(const Options& options);

// "256MiB", "1GiB", "64Mi", "1000000": binary units only.
absl::StatusOr<uint64_t> ParseSize(const std::string& text);

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_OPTIONS_H_
