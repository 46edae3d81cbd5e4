#include "cryptsnap/freshness.h"

#include <chrono>
#include <cstdio>
#include <set>
#include <string>
#include <utility>

#include "base/status.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/quantities.h"

namespace cryptvol::cryptsnap {
namespace {

absl::Status CheckAgeOf(const snapshot::Catalog& catalog, const snapshot::Filter& filter,
                        std::chrono::seconds limit) {
  const absl::Status age = snapshot::CheckAge(catalog, filter, limit, snapshot::SystemTime());
  return absl::IsFailedPrecondition(age) ? WithExitStatus(age, ExitStatus::kStale) : age;
}

}  // namespace

void AddMaxAgeFlag(CLI::App& command, std::string& max_age) {
  command
      .add_option("--max-age", max_age,
                  "Exit with status 6 when the newest backup of any cluster and kind is older: "
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
  std::set<std::pair<std::string, snapshot::Kind>> series;
  for (const snapshot::Entry* entry : snapshot::SelectBackups(catalog, filter)) {
    series.emplace(entry->manifest->cluster, entry->manifest->kind());
  }
  // With none, the check says what there is instead.
  if (series.empty()) return CheckAgeOf(catalog, filter, limit);
  for (const auto& [cluster, kind] : series) {
    snapshot::Filter one = filter;
    one.cluster = cluster;
    one.kind = kind;
    CV_RETURN_IF_ERROR(CheckAgeOf(catalog, one, limit));
  }
  return absl::OkStatus();
}

absl::Status AlarmsOrAge(const absl::Status& alarms, const snapshot::Catalog& catalog,
                         const snapshot::Filter& filter, const std::string& max_age) {
  const absl::Status age = CheckMaxAge(catalog, filter, max_age);
  if (alarms.ok()) return age;
  if (!age.ok()) {
    std::fprintf(stderr, "cryptsnap: warning: %s\n", EscapeForeign(Message(age)).c_str());
  }
  return alarms;
}

void NoteFreshness(const TrustOptions& trust) {
  if (!trust.state.empty()) return;
  std::fprintf(stderr,
               "cryptsnap: note: freshness is not proven: without --state=FILE a target that hides "
               "its newest backups looks the same\n");
}

}  // namespace cryptvol::cryptsnap
