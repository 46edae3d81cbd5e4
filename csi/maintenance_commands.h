// The commands for volumes' headers and keys: `cryptvol-csi volumes`, `key`, `header`, `adopt`.
// docs/headers.md is their manual. They work beside the running driver, and take its lock on the
// volume.
#ifndef CRYPTVOL_CSI_MAINTENANCE_COMMANDS_H_
#define CRYPTVOL_CSI_MAINTENANCE_COMMANDS_H_

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "csi/options.h"

namespace cryptvol::driver {

struct MaintenanceOptions {
  std::string volume_id;
  std::string device;  // of a static volume
  std::string file;    // of a saved header
  std::string kept;    // where `header restore` keeps what it replaces; empty: beside `file`
  std::string key_file;
  std::string new_key_file;
  bool new_key_is_random = false;
  std::string pbkdf;
  int keyslot = -1;
  std::vector<std::string> recipients;
  std::string recipients_file;
  bool no_recipients = false;
  bool json = false;
};

class MaintenanceCommands {
 public:
  // Adds them to the program's command line.
  explicit MaintenanceCommands(CLI::App& app);

  // Runs the one that was given on the command line; nullopt when it was none of these.
  std::optional<absl::Status> Run(const Options& options, std::FILE* out);

 private:
  CLI::App* volumes_;
  CLI::App* key_list_;
  CLI::App* key_add_;
  CLI::App* key_set_recovery_;
  CLI::App* key_remove_;
  CLI::App* header_inspect_;
  CLI::App* header_save_;
  CLI::App* header_restore_;
  CLI::App* adopt_;
  MaintenanceOptions options_;
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_MAINTENANCE_COMMANDS_H_
