// What `save` and `etcd save` have in common.
#ifndef CRYPTVOL_CRYPTSNAP_SAVE_OPTIONS_H_
#define CRYPTVOL_CRYPTSNAP_SAVE_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "cryptsnap/keys.h"
#include "cryptsnap/progress.h"
#include "cryptsnap/target_options.h"
#include "snapshot/save.h"

namespace cryptvol::cryptsnap {

struct SaveFlags {
  TargetOptions target;
  RecipientOptions recipients;
  std::string signing_key;
  std::string cluster;
  std::string compress = "none";
  std::string metrics_file;
  int passphrase_fd = -1;
  std::string written_to;
  bool json = false;
};
void AddSaveFlags(CLI::App& command, SaveFlags& flags);
absl::Status Validate(const SaveFlags& flags);

// All that a save needs, at an address that stays: `options` points into it.
struct SaveJob {
  explicit SaveJob(int passphrase_fd) : loader(passphrase_fd) {}
  KeyLoader loader;
  RecipientList recipients;
  minisign::SecretKey signing_key;
  std::unique_ptr<snapshot::Target> target;
  std::optional<ProgressMeter> progress;
  snapshot::SaveOptions options;
};
absl::StatusOr<std::unique_ptr<SaveJob>> PrepareSave(const SaveFlags& flags);

// Runs it, writes the metrics, and tells the result. Metrics that cannot be written are a warning.
absl::Status RecordSave(const SaveFlags& flags, snapshot::Kind kind,
                        const std::function<absl::StatusOr<snapshot::SaveResult>()>& save);

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_SAVE_OPTIONS_H_
