#include "snapshot/prune.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/status.h"
#include "snapshot/chain_checks.h"
#include "snapshot/chain_writer.h"
#include "snapshot/litter.h"

namespace cryptvol::snapshot {
namespace {

// What a prune entry takes at most, so that it stays below kMaxManifestBytes: beside its lists, for
// each removal but its object's name, and for each range.
constexpr size_t kRecordBytes = 32'768;
constexpr size_t kRemovalBytes = 180;
constexpr size_t kRangeBytes = 72;

std::string ObjectOf(const Entry& entry) {
  const BackupRecord* backup = entry.manifest ? entry.manifest->backup() : nullptr;
  return backup != nullptr ? backup->object : "";
}

// What makes it unknown which entries there were; the other alarms are of single backups.
bool ForbidsPruning(const Alarm& alarm) {
  switch (alarm.kind) {
    case Alarm::Kind::kGap:
    case Alarm::Kind::kFork:
    case Alarm::Kind::kSignatureMissing:
    case Alarm::Kind::kBadSignature:
    case Alarm::Kind::kMalformed:
    case Alarm::Kind::kRollback:
      return true;
    case Alarm::Kind::kPayloadMissing:
    case Alarm::Kind::kPayloadAltered:
    case Alarm::Kind::kTimeOutOfOrder:
      return false;
  }
  return true;
}

absl::Status CheckChain(const Chain& chain) {
  for (const Alarm& alarm : chain.alarms) {
    if (!ForbidsPruning(alarm)) continue;
    return FailedPrecondition("prune: nothing was removed, since the chain is not sound: {}",
                              alarm.message);
  }
  return absl::OkStatus();
}

// In the order of docs/format.md: what is left when this is interrupted never counts.
absl::Status RemoveEntry(Target& target, const Entry& entry) {
  CV_RETURN_IF_ERROR(target.Remove(FileName::Signature(entry.writer, entry.sequence)));
  CV_RETURN_IF_ERROR(target.Remove(FileName::Manifest(entry.writer, entry.sequence)));
  if (!entry.manifest || entry.manifest->backup() == nullptr) return absl::OkStatus();
  return target.Remove(FileName::Payload(entry.manifest->backup()->object));
}

// What retention looks at together: a cluster's backups of one kind.
using Groups = std::map<std::pair<std::string, Kind>, std::vector<const Entry*>>;

class Pruner {
 public:
  Pruner(Target& target, const PruneOptions& options)
      : target_(target),
        options_(options),
        writer_(target, *options.signing_key, options.written_to, options.clock),
        before_(options.clock() - options.abort_after) {}

  absl::StatusOr<PruneResult> Run() {
    CV_RETURN_IF_ERROR(ReadChains());
    CV_RETURN_IF_ERROR(CheckChain(chain_));
    for (const Chain& chain : others_) CV_RETURN_IF_ERROR(CheckChain(chain));
    CV_ASSIGN_OR_RETURN(listing_, target_.List());
    ChooseBackups();
    ChooseIncomplete();
    ChooseOldPruneEntries();
    CV_RETURN_IF_ERROR(RemoveEntries());
    CV_RETURN_IF_ERROR(RemoveLitter());
    CV_ASSIGN_OR_RETURN(result_.uploads, target_.AbortAbandoned(before_, options_.dry_run));
    std::ranges::copy(writer_.warnings(), std::back_inserter(result_.warnings));
    return std::move(result_);
  }

 private:
  absl::Status ReadChains() {
    Trust trust{
        .keys = options_.verify_keys, .no_verify = false, .written_to = options_.written_to};
    // The last one of an id counts, and ids can be chosen.
    trust.keys.push_back(options_.signing_key->public_key);
    CV_ASSIGN_OR_RETURN(Catalog catalog, ReadCatalog(target_, trust));
    const std::string own = minisign::KeyIdText(options_.signing_key->id);
    for (Chain& chain : catalog.chains) {
      if (chain.writer == own) {
        chain_ = std::move(chain);
      } else {
        others_.push_back(std::move(chain));
      }
    }
    return absl::OkStatus();
  }

  // Those that retention counts, by what they are of.
  void ChooseBackups() {
    Groups groups;
    Group(chain_, groups);
    for (const Chain& chain : others_) Group(chain, groups);
    for (const auto& [key, entries] : groups) ApplyPolicy(entries);
  }

  void Group(const Chain& chain, Groups& groups) {
    for (const Entry& entry : chain.entries) {
      if (!entry.IsBackup()) continue;
      const bool counts = !entry.time_out_of_order &&
                          (options_.cluster.empty() || entry.manifest->cluster == options_.cluster);
      if (counts) {
        groups[{entry.manifest->cluster, entry.manifest->kind()}].push_back(&entry);
      } else {
        result_.kept.push_back(entry);
      }
    }
  }

  void ApplyPolicy(const std::vector<const Entry*>& entries) {
    std::vector<Timestamp> times;
    for (const Entry* entry : entries) times.push_back(entry->manifest->time);
    const std::vector<bool> kept = ChooseKept(times, options_.policy);
    for (size_t i = 0; i < entries.size(); ++i) {
      const bool keep = kept[i] || options_.policy.empty();
      const bool own = entries[i]->writer == chain_.writer;
      (keep ? result_.kept : own ? result_.removed : result_.of_others).push_back(*entries[i]);
    }
  }

  void ChooseIncomplete() {
    const uint64_t last = EndOf(chain_);  // the record will stand behind it
    for (const Entry& entry : chain_.entries) {
      const bool old = entry.modified < before_;
      if (entry.state != EntryState::kIncomplete || !old || entry.sequence > last) continue;
      incomplete_.push_back(entry);
      result_.litter.push_back(FileName::Manifest(entry.writer, entry.sequence).path());
    }
  }

  // The newest says all that they say; it goes with the next one.
  void ChooseOldPruneEntries() {
    for (const Entry& entry : chain_.entries) {
      const bool is_prune = entry.state == EntryState::kGood && entry.manifest->prune() != nullptr;
      if (is_prune) old_prune_entries_.push_back(entry);
    }
  }

  absl::Status RemoveEntries() {
    std::vector<Entry> removed = result_.removed;
    removed.insert(removed.end(), incomplete_.begin(), incomplete_.end());
    if (removed.empty() || options_.dry_run) return absl::OkStatus();
    removed.insert(removed.end(), old_prune_entries_.begin(), old_prune_entries_.end());
    CV_RETURN_IF_ERROR(writer_.FindHead());
    absent_ = AbsentBefore();
    for (size_t i = 0; i < removed.size();) {
      const size_t count = FittingCount(std::span(removed).subspan(i));
      if (count == 0) return TooManyRanges();
      CV_RETURN_IF_ERROR(RemoveSome(std::span(removed).subspan(i, count)));
      i += count;
    }
    return absl::OkStatus();
  }

  // How many of them one record takes.
  size_t FittingCount(std::span<const Entry> entries) const {
    size_t bytes = kRecordBytes + absent_.size() * kRangeBytes;
    size_t count = 0;
    for (const Entry& entry : entries) {
      bytes += kRemovalBytes + ObjectOf(entry).size() + kRangeBytes;
      if (bytes > kMaxManifestBytes) break;
      ++count;
    }
    return count;
  }

  absl::Status TooManyRanges() const {
    return MakeStatus(
        absl::StatusCode::kResourceExhausted,
        "prune: the record of what is absent has no room left: there are {} runs of "
        "removed entries, with kept ones between them; keep fewer of the old ones, or "
        "go on with a new signing key",
        absent_.size());
  }

  absl::Status RemoveSome(std::span<const Entry> entries) {
    CV_RETURN_IF_ERROR(Record(entries));
    for (const Entry& entry : entries) CV_RETURN_IF_ERROR(RemoveEntry(target_, entry));
    return absl::OkStatus();
  }

  // Says what is about to be removed.
  absl::Status Record(std::span<const Entry> entries) {
    PruneRecord record;
    std::vector<SequenceRange> absent;
    Manifest draft;
    for (const Entry& entry : entries) {
      record.removes.push_back({.sequence = entry.sequence,
                                .object = ObjectOf(entry),
                                .manifest_sha256 = entry.manifest_sha256});
      absent.push_back({.first = entry.sequence, .last = entry.sequence});
      if (draft.cluster.empty() && entry.manifest) draft.cluster = entry.manifest->cluster;
    }
    if (draft.cluster.empty()) draft.cluster = SomeCluster();
    absent_ = MergeRanges(std::move(absent_), absent);
    record.absent = absent_;
    draft.record = std::move(record);
    return writer_.Append(std::move(draft)).status();
  }

  // Without what has taken a place since: it is there, and shall stay.
  std::vector<SequenceRange> AbsentBefore() const {
    std::vector<SequenceRange> absent = AbsentOf(chain_);
    for (const Entry& entry : chain_.entries) {
      if (entry.took_pruned_place) absent = WithoutSequence(absent, entry.sequence);
    }
    return absent;
  }

  std::string SomeCluster() const {
    if (!options_.cluster.empty()) return options_.cluster;
    const Entry* head = chain_.head();
    return head != nullptr ? head->manifest->cluster : "none";
  }

  absl::Status RemoveLitter() {
    CV_ASSIGN_OR_RETURN(
        std::vector<FileName> litter,
        FindOrphans(target_, listing_, chain_, incomplete_, before_, result_.warnings));
    const std::vector<FileName> remains = FindRemains(listing_, chain_);
    litter.insert(litter.end(), remains.begin(), remains.end());
    std::ranges::sort(litter);
    litter.erase(std::ranges::unique(litter).begin(), litter.end());
    for (const FileName& name : litter) {
      if (!options_.dry_run) CV_RETURN_IF_ERROR(target_.Remove(name));
      result_.litter.push_back(name.path());
    }
    return absl::OkStatus();
  }

  Target& target_;
  const PruneOptions& options_;
  ChainWriter writer_;
  const Timestamp before_;
  Chain chain_;                // the signing key's
  std::vector<Chain> others_;  // the verify keys'
  Listing listing_;
  std::vector<Entry> incomplete_;
  std::vector<Entry> old_prune_entries_;
  std::vector<SequenceRange> absent_;  // as the newest record has it
  PruneResult result_;
};

}  // namespace

absl::StatusOr<PruneResult> Prune(Target& target, const PruneOptions& options) {
  if (options.signing_key == nullptr) {
    return InvalidArgument("prune: no signing key: what is removed must be recorded first");
  }
  return Pruner(target, options).Run();
}

}  // namespace cryptvol::snapshot
