// Whether the newest backup is new enough, and whether anybody could know.
#ifndef CRYPTVOL_CRYPTSNAP_FRESHNESS_H_
#define CRYPTVOL_CRYPTSNAP_FRESHNESS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/status.h"
#include "cryptsnap/target_options.h"
#include "snapshot/catalog.h"

namespace cryptvol::cryptsnap {

void AddMaxAgeFlag(CLI::App& command, std::string& max_age);
// Empty: none was given.
absl::Status ValidateMaxAge(const std::string& max_age);

// kStale when the newest selected backup of any cluster and kind is older; OK without --max-age.
absl::Status CheckMaxAge(const snapshot::Catalog& catalog, const snapshot::Filter& filter,
                         const std::string& max_age);

// What a reader ends with: `alarms` (CheckAlarms), if there are any, and then says on standard error
// what CheckMaxAge would have said; else that.
absl::Status AlarmsOrAge(const absl::Status& alarms, const snapshot::Catalog& catalog,
                         const snapshot::Filter& filter, const std::string& max_age);

// Says on standard error that freshness is not proven, when there is no state file.
void NoteFreshness(const TrustOptions& trust);

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_FRESHNESS_H_
