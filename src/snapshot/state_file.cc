#include "snapshot/state_file.h"

#include <algorithm>

#include "base/atomic_file.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "luks/strict_json.h"
#include "nlohmann/json.hpp"
#include "snapshot/file_name.h"
#include "snapshot/folder_lock.h"
#include "snapshot/json_fields.h"

namespace cryptvol::snapshot {
namespace {

constexpr size_t kMaxStateBytes = size_t{16} << 20;
constexpr uint64_t kFormat = 1;

bool IsAny(std::string_view) { return true; }
bool IsDigest(std::string_view text) { return text.size() == 64; }

absl::StatusOr<SeenChains> ParseState(std::string_view text) {
  CV_ASSIGN_OR_RETURN(const nlohmann::json object, luks::ParseStrictJson(text));
  JsonFields fields(object, "the state");
  fields.Number("format", kFormat, kFormat);
  const nlohmann::json* chains = fields.Take("chains");
  if (chains == nullptr || !chains->is_array()) fields.Fail("its chains are no list");
  CV_RETURN_IF_ERROR(fields.Finish());
  SeenChains seen;
  for (const nlohmann::json& chain : *chains) {
    JsonFields parts(chain, "a chain of the state");
    const std::string target = parts.TextThat("target", IsAny);
    const std::string writer = parts.TextThat("writer", IsWriterId);
    SeenHead& head = seen[{target, writer}];
    head.sequence = parts.Number("sequence", 1, kMaxSequence);
    head.manifest_sha256 = parts.TextThat("sha256", IsDigest);
    CV_RETURN_IF_ERROR(parts.Finish());
  }
  return seen;
}

std::string SerializeState(const SeenChains& seen) {
  nlohmann::ordered_json chains = nlohmann::ordered_json::array();
  for (const auto& [key, head] : seen) {
    chains.push_back({{"target", key.first},
                      {"writer", key.second},
                      {"sequence", head.sequence},
                      {"sha256", head.manifest_sha256}});
  }
  const nlohmann::ordered_json state = {{"format", kFormat}, {"chains", chains}};
  return state.dump(2) + "\n";
}

// What the state knows better than the target shows.
std::optional<Alarm> Contradiction(const Chain& chain, const SeenHead& seen) {
  const Entry* head = chain.head();
  Alarm alarm{.kind = Alarm::Kind::kRollback,
              .writer = chain.writer,
              .sequence = seen.sequence,
              .message = ""};
  if (head == nullptr || head->sequence < seen.sequence) {
    alarm.message = fmt::format(
        "entry {} of key {} was seen before, and the chain now ends with {}: the newest backups "
        "were removed, or an old copy of the target is shown",
        seen.sequence, chain.writer, head == nullptr ? 0 : head->sequence);
    return alarm;
  }
  const auto entry = std::ranges::find(chain.entries, seen.sequence, &Entry::sequence);
  if (entry == chain.entries.end()) return std::nullopt;
  if (entry->manifest_sha256 == seen.manifest_sha256) {
    if (entry->manifest || entry->state == EntryState::kRemoved) return std::nullopt;
    alarm.kind = Alarm::Kind::kSignatureMissing;
    alarm.message = fmt::format(
        "entry {} of key {} was seen with its signature before, and has none of the key now: "
        "somebody removed or replaced it; get {} back from the bucket's older versions",
        seen.sequence, chain.writer, FileName::Signature(chain.writer, seen.sequence).path());
    return alarm;
  }
  alarm.kind = Alarm::Kind::kFork;
  alarm.message = fmt::format(
      "entry {} of key {} is another one than was seen before: it was "
      "replaced",
      seen.sequence, chain.writer);
  return alarm;
}

}  // namespace

absl::StatusOr<SeenChains> LoadState(const std::string& path) {
  const auto text = ReadSmallFile(path, kMaxStateBytes);
  if (absl::IsNotFound(text.status())) return SeenChains();
  CV_RETURN_IF_ERROR(text);
  auto seen = ParseState(*text);
  if (seen.ok()) return seen;
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "read the state in {}: {}; restore it from a copy, or remove it and lose the "
                    "proof of freshness up to now",
                    path, Message(seen.status()));
}

absl::Status ApplyState(const std::string& path, Catalog& catalog, bool update) {
  CV_ASSIGN_OR_RETURN(const UniqueFd lock, LockFolderOf(path));
  CV_ASSIGN_OR_RETURN(SeenChains seen, LoadState(path));
  for (Chain& chain : catalog.chains) {
    const auto key = std::make_pair(catalog.target, chain.writer);
    if (const auto before = seen.find(key); before != seen.end()) {
      if (const auto alarm = Contradiction(chain, before->second)) {
        chain.alarms.push_back(*alarm);
        continue;
      }
    }
    const Entry* head = chain.head();
    if (head != nullptr) seen[key] = {head->sequence, head->manifest_sha256};
  }
  return update ? WriteFileAtomically(path, SerializeState(seen)) : absl::OkStatus();
}

absl::StatusOr<Catalog> ReadCatalogWithState(Target& target, const Trust& trust,
                                             const std::string& path) {
  CV_ASSIGN_OR_RETURN(Catalog catalog, ReadCatalog(target, trust));
  CV_RETURN_IF_ERROR(ApplyState(path, catalog));
  const std::vector<Alarm> alarms = catalog.Alarms();
  const bool behind = std::ranges::any_of(
      alarms, [](const Alarm& alarm) { return alarm.kind == Alarm::Kind::kRollback; });
  if (!behind) return catalog;
  CV_ASSIGN_OR_RETURN(catalog, ReadCatalog(target, trust));
  CV_RETURN_IF_ERROR(ApplyState(path, catalog));
  return catalog;
}

}  // namespace cryptvol::snapshot
