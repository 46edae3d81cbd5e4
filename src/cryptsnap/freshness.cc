#include "cryptsnap/freshness.h"

#include <cstdio>
#include <set>
#include <string>

#include "base/status.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/quantities.h"

namespace cryptvol::cryptsnap {

void AddMaxAgeFlag(CLI::App& command, std::string& max_age) {
  command
      .add_option("--max-age", max_age,
                  "Exit with status 6 when the newest backup of a cluster is older: "
                  "26h, 7d")
      ->type_name("DURATION");
}

absl::Status ValidateMaxAge(const std::string& max_age) {
  if (max_age.empty()) return absl::OkStatus();
  return ParseDuration("--max-age", max_age).status();
}

absl::Status CheckMaxAge(const snapshot::Catalog& catalog, const snapshot::Filter& filter,
                         const std::string& max_age) {
  if (max_age.empty()) return absl::OkStatus();
  CV_ASSIGN_OR_RETURN(const auto limit, ParseDuration("--max-age", max_age));
  std::set<std::string> clusters;
  for (const snapshot::Entry* entry : snapshot::SelectBackups(catalog, filter)) {
    clusters.insert(entry->manifest->cluster);
  }
  // With none, the check says what there is instead.
  if (clusters.empty()) clusters.insert(filter.cluster);
  for (const std::string& cluster : clusters) {
    snapshot::Filter of_cluster = filter;
    of_cluster.cluster = cluster;
    const absl::Status age = snapshot::CheckAge(catalog, of_cluster, limit, snapshot::SystemTime());
    if (absl::IsFailedPrecondition(age)) return WithExitStatus(age, ExitStatus::kStale);
    CV_RETURN_IF_ERROR(age);
  }
  return absl::OkStatus();
}

void NoteFreshness(const TrustOptions& trust) {
  if (!trust.state.empty()) return;
  std::fprintf(stderr,
               "cryptsnap: note: freshness is not proven: without --state=FILE a target that hides "
               "its newest backups looks the same\n");
}

}  // namespace cryptvol::cryptsnap
