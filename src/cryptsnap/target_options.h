// Where backups lie, and whom to believe about them: what most commands share.
#ifndef CRYPTVOL_CRYPTSNAP_TARGET_OPTIONS_H_
#define CRYPTVOL_CRYPTSNAP_TARGET_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cryptsnap/keys.h"
#include "snapshot/catalog.h"
#include "snapshot/target.h"

namespace cryptvol::cryptsnap {

struct TargetOptions {
  std::string target;
  bool allow_http = false;
  bool content_md5 = false;
  std::string addressing = "auto";
  std::string part_size;
};
void AddTargetFlags(CLI::App& command, TargetOptions& options);
absl::StatusOr<std::unique_ptr<snapshot::Target>> OpenTarget(const TargetOptions& options,
                                                             bool create);

// Of --written-to, which may be empty: as manifests name it.
absl::StatusOr<std::string> ParseWrittenTo(const std::string& text);

struct TrustOptions {
  std::vector<std::string> verify_keys;
  bool insecure_no_verify = false;
  std::string written_to;
  std::string state;
};
void AddTrustFlags(CLI::App& command, TrustOptions& options);
absl::Status Validate(const TrustOptions& options);

// Reads the catalog, compares it with the state file if there is one, and warns on standard error
// of what it did not look at.
absl::StatusOr<snapshot::Catalog> ReadTrusted(snapshot::Target& target, KeyLoader& loader,
                                              const TrustOptions& options);

// Which backups. Text as given; Parse checks it.
struct FilterOptions {
  std::string cluster;
  std::string kind;
  std::string from;
  std::string until;
  std::string object;
  int64_t revision = 0;  // 0: any
};
void AddFilterFlags(CLI::App& command, FilterOptions& options);
absl::StatusOr<snapshot::Filter> Parse(const FilterOptions& options);

// The newest one that the filter lets through, or the one that it names. DATA_LOSS when there are
// alarms and no object was named: then "the newest" may be what an attacker left.
absl::StatusOr<const snapshot::Entry*> ChooseBackup(const snapshot::Catalog& catalog,
                                                    const snapshot::Filter& filter);

// DATA_LOSS, with kTampering, when there are alarms. Prints them to standard error.
absl::Status CheckAlarms(const snapshot::Catalog& catalog);

// Of operations on a payload: a malformed header is no wrong usage.
absl::Status ReadingError(const absl::Status& status);

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_TARGET_OPTIONS_H_
