// `cryptvol-csi recover`: opens a volume, or any block-level copy of it, with an age identity, after
// cluster and Secret are gone.
#ifndef CRYPTVOL_CSI_RECOVER_COMMAND_H_
#define CRYPTVOL_CSI_RECOVER_COMMAND_H_

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "csi/options.h"

namespace cryptvol::driver {

struct RecoverOptions {
  std::string device;
  std::string identity_file;  // "-" is standard input
  std::string mapping;        // below /dev/mapper; empty: it is not opened
  bool read_only = false;
  std::string new_key_file;  // empty: no key is added
};

class RecoverCommand {
 public:
  explicit RecoverCommand(CLI::App& app);
  // nullopt when it was not on the command line.
  std::optional<absl::Status> Run(const Options& options, std::FILE* out);

 private:
  RecoverOptions options_;
  CLI::App* command_;
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_RECOVER_COMMAND_H_
