#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_join.h"
#include "base/status.h"
#include "snapshot/catalog.h"
#include "snapshot/name_list.h"

namespace cryptvol::snapshot {
namespace {

bool Matches(const Entry& entry, const Filter& filter) {
  if (!entry.IsBackup()) return false;
  const Manifest& manifest = *entry.manifest;
  const BackupRecord& backup = *manifest.backup();
  return (filter.cluster.empty() || manifest.cluster == filter.cluster) &&
         (!filter.kind || manifest.kind() == *filter.kind) &&
         (!filter.from || manifest.time >= *filter.from) &&
         (!filter.until || manifest.time <= *filter.until) &&
         (!filter.revision || (backup.etcd && backup.etcd->revision == *filter.revision)) &&
         (filter.object.empty() || backup.object == filter.object);
}

bool IsOlder(const Entry* a, const Entry* b) {
  if (a->manifest->time != b->manifest->time) return a->manifest->time < b->manifest->time;
  return a->sequence < b->sequence;
}

absl::Status NothingFound(const Catalog& catalog, const Filter& filter) {
  const size_t all = SelectBackups(catalog, {}).size();
  std::string hint;
  if (all > 0 && !filter.cluster.empty()) hint = "; look at `cryptsnap list` for what there is";
  if (all == 0 && !catalog.unknown_writers.empty()) {
    hint = fmt::format("; there are entries of the keys {}, which no --verify-key names",
                       NameList(catalog.unknown_writers));
  }
  return MakeStatus(absl::StatusCode::kNotFound,
                    "{}: no backup fits; {} good ones of the given keys are there in all{}",
                    catalog.target, all, hint);
}

// The newest of different things is not what anybody means: a tarball that was saved after a
// snapshot would hide it.
absl::Status CheckAllOfOneKind(const Catalog& catalog, const std::vector<const Entry*>& selected) {
  std::set<std::string> clusters;
  std::set<std::string> kinds;
  for (const Entry* entry : selected) {
    clusters.insert(entry->manifest->cluster);
    kinds.emplace(KindText(entry->manifest->kind()));
  }
  if (clusters.size() > 1) {
    return FailedPrecondition("{}: backups of several clusters fit: {}; choose one with --cluster",
                              catalog.target, absl::StrJoin(clusters, ", "));
  }
  if (kinds.size() > 1) {
    return FailedPrecondition("{}: backups of several kinds fit: {}; choose one with --kind",
                              catalog.target, absl::StrJoin(kinds, ", "));
  }
  return absl::OkStatus();
}

// By the writer.
std::map<std::string, const Entry*> LastOfEach(const std::vector<const Entry*>& backups) {
  std::map<std::string, const Entry*> last;
  for (const Entry* entry : backups) {
    const Entry*& latest = last[entry->writer];
    if (latest == nullptr || latest->sequence < entry->sequence) latest = entry;
  }
  return last;
}

}  // namespace

std::vector<const Entry*> SelectBackups(const Catalog& catalog, const Filter& filter) {
  std::vector<const Entry*> selected;
  for (const Chain& chain : catalog.chains) {
    for (const Entry& entry : chain.entries) {
      if (Matches(entry, filter)) selected.push_back(&entry);
    }
  }
  std::ranges::sort(selected, IsOlder);
  return selected;
}

const Entry* NewestOf(const std::vector<const Entry*>& backups) {
  const Entry* newest = nullptr;
  for (const auto& [writer, last] : LastOfEach(backups)) {
    if (newest == nullptr || IsOlder(newest, last)) newest = last;
  }
  return newest;
}

absl::StatusOr<const Entry*> SelectNewest(const Catalog& catalog, const Filter& filter) {
  const std::vector<const Entry*> selected = SelectBackups(catalog, filter);
  if (selected.empty()) return NothingFound(catalog, filter);
  CV_RETURN_IF_ERROR(CheckAllOfOneKind(catalog, selected));
  return NewestOf(selected);
}

absl::Status CheckAge(const Catalog& catalog, const Filter& filter, std::chrono::seconds max_age,
                      Timestamp now) {
  CV_ASSIGN_OR_RETURN(const Entry* newest, SelectNewest(catalog, filter));
  const Timestamp time = newest->manifest->time;
  // Dated later than this from now, a backup says nothing about its age.
  if (time > now + kClockTolerance) {
    return FailedPrecondition(
        "the newest backup, {}, is dated {}, which is in the future: the writer's clock or this "
        "machine's is wrong, so its age is not known",
        newest->manifest->backup()->object, FormatTimestamp(time));
  }
  if (now - time <= max_age) return absl::OkStatus();
  return FailedPrecondition(
      "the newest backup, {}, is of {}: older than the {} s that are allowed; look why none was "
      "saved since",
      newest->manifest->backup()->object, FormatTimestamp(time), max_age.count());
}

}  // namespace cryptvol::snapshot
