#include "snapshot/prune.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
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
absl::Status RemoveEntry(Target& target, const Entry& entry, const std::set<std::string>& in_use) {
  CV_RETURN_IF_ERROR(target.Remove(FileName::Signature(entry.writer, entry.sequence)));
  CV_RETURN_IF_ERROR(target.Remove(FileName::Manifest(entry.writer, entry.sequence)));
  const std::string object = ObjectOf(entry);
  if (object.empty() || in_use.contains(object)) return absl::OkStatus();
  return target.Remove(FileName::Payload(object));
}

// What retention looks at together: a cluster's backups of one kind.
struct BackupGroup {
  std::vector<const Entry*> all;
  std::vector<const Entry*> counted;  // of them
};
using Groups = std::map<std::pair<std::string, Kind>, BackupGroup>;

// By the word of its writer, and by the store's clock.
bool IsLaterByBoth(const Entry& entry, const Entry& than) {
  return entry.manifest->time > than.manifest->time && entry.modified >= than.modified;
}

class Pruner {
 public:
  Pruner(Target& target, const PruneOptions& options)
      : target_(target),
        options_(options),
        writer_(target, *options.signing_key, options.written_to, options.clock),
        now_(options.clock()),
        before_(now_ - options.abort_after) {}

  absl::StatusOr<PruneResult> Run() {
    CV_RETURN_IF_ERROR(ReadChains());
    CV_RETURN_IF_ERROR(CheckChain(chain_));
    for (const Chain& chain : others_) CV_RETURN_IF_ERROR(CheckChain(chain));
    CV_ASSIGN_OR_RETURN(listing_, target_.List());
    CV_RETURN_IF_ERROR(SpareOverwritten());
    for (const std::string& object : options_.drop) CV_RETURN_IF_ERROR(Drop(object));
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

  // What may be a backup without its signature stays, and so does the entry whose writer passed it
  // over, without which it would be an alarm that ends pruning.
  absl::Status SpareOverwritten() {
    const std::string& written_to =
        options_.written_to.empty() ? target_.name() : options_.written_to;
    CV_ASSIGN_OR_RETURN(const std::vector<uint64_t> overwritten,
                        FindOverwritten(target_, listing_, chain_, written_to));
    if (overwritten.empty()) return absl::OkStatus();
    for (const uint64_t sequence : overwritten) {
      spared_.insert(sequence);
      const auto next = std::ranges::find_if(chain_.entries, [&](const Entry& entry) {
        return entry.sequence > sequence && entry.manifest.has_value();
      });
      if (next != chain_.entries.end()) spared_.insert(next->sequence);
    }
    const std::string signature = FileName::Signature(chain_.writer, overwritten.back()).path();
    result_.warnings.push_back(fmt::format(
        "{} entr{} the manifest and the payload of a backup, and another's signature: somebody may "
        "have overwritten it, and they are kept; get {} back from the bucket's older versions, or "
        "remove that file if it never was a good backup",
        overwritten.size(), overwritten.size() == 1 ? "y has" : "ies have", signature));
    return absl::OkStatus();
  }

  bool Counts(const Entry& entry) const {
    return entry.IsBackup() && !entry.time_out_of_order && !IsOfTheFuture(entry);
  }

  absl::Status Drop(const std::string& object) {
    bool found = false;
    for (const Entry& entry : chain_.entries) {
      const bool is_backup = entry.state != EntryState::kRemoved && !ObjectOf(entry).empty();
      if (!is_backup || ObjectOf(entry) != object) continue;
      if (Counts(entry)) {
        return InvalidArgument(
            "prune: drop {}: it is a good backup, and goes by the rules alone; nothing was removed",
            object);
      }
      found = true;
      if (dropped_.insert(entry.sequence).second) result_.removed.push_back(entry);
    }
    if (found) return absl::OkStatus();
    return MakeStatus(absl::StatusCode::kNotFound,
                      "prune: drop {}: the chain of key {} has no such backup; nothing was removed",
                      object, chain_.writer);
  }

  // Those that retention counts, by what they are of.
  void ChooseBackups() {
    Groups groups;
    Group(chain_, groups);
    for (const Chain& chain : others_) Group(chain, groups);
    for (const auto& [key, group] : groups) ApplyPolicy(group);
    WarnOfTheFuture();
  }

  // It would be the newest, and what is within a time before it, for as long as its clock was wrong.
  bool IsOfTheFuture(const Entry& entry) const {
    return entry.manifest->time > now_ + kClockTolerance;
  }

  void WarnOfTheFuture() {
    size_t count = 0;
    const Entry* latest = nullptr;
    for (const Entry& entry : result_.kept) {
      if (!IsOfTheFuture(entry)) continue;
      ++count;
      if (latest == nullptr || entry.manifest->time > latest->manifest->time) latest = &entry;
    }
    if (latest == nullptr) return;
    result_.warnings.push_back(fmt::format(
        "{} backup{} dated later than this machine's clock, up to entry {} of key {}, of {}: a clock "
        "is or was wrong; they are kept, and no rule counts them",
        count, count == 1 ? " is" : "s are", latest->sequence, latest->writer,
        FormatTimestamp(latest->manifest->time)));
  }

  void Group(const Chain& chain, Groups& groups) {
    // One payload is one backup, whose last entry counts. The others go after it.
    std::map<std::string, uint64_t> last;
    for (const Entry& entry : chain.entries) {
      if (entry.IsBackup()) last[ObjectOf(entry)] = entry.sequence;
    }
    for (const Entry& entry : chain.entries) {
      const bool is_dropped = &chain == &chain_ && dropped_.contains(entry.sequence);
      if (!entry.IsBackup() || is_dropped) continue;
      const Manifest& manifest = *entry.manifest;
      if (!options_.cluster.empty() && manifest.cluster != options_.cluster) {
        result_.kept.push_back(entry);
        continue;
      }
      BackupGroup& group = groups[{manifest.cluster, manifest.kind()}];
      group.all.push_back(&entry);
      if (last[ObjectOf(entry)] != entry.sequence) continue;
      if (Counts(entry)) group.counted.push_back(&entry);
    }
  }

  // The last of the own chain is what this writer's readers would take. It goes only when another
  // writer's is newer, and not by a clock alone that may have been wrong. Null: none is needed.
  const Entry* NeededLast(const BackupGroup& group) const {
    const Entry* last = nullptr;
    for (const Entry* entry : group.all) {
      if (entry->writer != chain_.writer) continue;
      if (last == nullptr || entry->sequence > last->sequence) last = entry;
    }
    if (last == nullptr) return nullptr;
    const bool has_newer = std::ranges::any_of(group.counted, [&](const Entry* other) {
      return other->writer != last->writer && IsLaterByBoth(*other, *last);
    });
    return has_newer ? nullptr : last;
  }

  // A stream that ended early looks whole where nothing proved it: it takes the place of none that
  // was proven.
  static const Entry* NewestProven(const BackupGroup& group) {
    std::vector<const Entry*> proven;
    std::ranges::copy_if(group.counted, std::back_inserter(proven), [](const Entry* entry) {
      return entry->manifest->backup()->completeness != Completeness::kUnproven;
    });
    return NewestOf(proven);
  }

  std::set<const Entry*> WantedOf(const BackupGroup& group) const {
    std::vector<Timestamp> times;
    for (const Entry* entry : group.counted) times.push_back(entry->manifest->time);
    const std::vector<bool> chosen = ChooseKept(times, options_.policy);
    std::set<const Entry*> wanted(group.all.begin(), group.all.end());
    const std::set<const Entry*> always = {NewestOf(group.all), NewestProven(group),
                                           NeededLast(group)};
    for (size_t i = 0; i < chosen.size(); ++i) {
      const Entry* entry = group.counted[i];
      const bool spared = entry->writer == chain_.writer && spared_.contains(entry->sequence);
      const bool keep = chosen[i] || spared || always.contains(entry);
      if (!keep && !options_.policy.empty()) wanted.erase(entry);
    }
    return wanted;
  }

  void ApplyPolicy(const BackupGroup& group) {
    const std::set<const Entry*> wanted = WantedOf(group);
    for (const Entry* entry : group.all) {
      const bool own = entry->writer == chain_.writer;
      (wanted.contains(entry) ? result_.kept
       : own                  ? result_.removed
                              : result_.of_others)
          .push_back(*entry);
    }
  }

  void ChooseIncomplete() {
    const uint64_t last = EndOf(chain_);  // the record will stand behind it
    for (const Entry& entry : chain_.entries) {
      // What has another's signature will never be whole. It goes with, or before, the entry whose
      // writer passed it over: nothing else says that it is no alarm.
      const bool old = entry.passed_over || entry.modified < before_;
      if (entry.state != EntryState::kIncomplete || !old || entry.sequence > last) continue;
      if (spared_.contains(entry.sequence)) continue;
      incomplete_.push_back(entry);
      result_.litter.push_back(FileName::Manifest(entry.writer, entry.sequence).path());
    }
  }

  // The newest says all that they say; it goes with the next one.
  void ChooseOldPruneEntries() {
    for (const Entry& entry : chain_.entries) {
      const bool is_prune = entry.state == EntryState::kGood && entry.manifest->prune() != nullptr;
      if (is_prune && !spared_.contains(entry.sequence)) old_prune_entries_.push_back(entry);
    }
  }

  absl::Status RemoveEntries() {
    std::vector<Entry> removed = incomplete_;
    removed.insert(removed.end(), result_.removed.begin(), result_.removed.end());
    if (removed.empty() || options_.dry_run) return absl::OkStatus();
    removed.insert(removed.end(), old_prune_entries_.begin(), old_prune_entries_.end());
    CV_RETURN_IF_ERROR(writer_.FindHead());
    absent_ = AbsentBefore();
    in_use_ = ObjectsBut(removed);
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
    for (const Entry& entry : chain_.entries) bytes += entry.took_pruned_place ? kRemovalBytes : 0;
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
    for (const Entry& entry : entries) {
      CV_RETURN_IF_ERROR(RemoveEntry(target_, entry, in_use_));
    }
    return absl::OkStatus();
  }

  // The payloads of what stays, in any chain: a writer whose entry was taken for a removed one signs
  // the same payload again, and a prune beside it may have kept the first entry.
  std::set<std::string> ObjectsBut(std::span<const Entry> removed) const {
    std::set<uint64_t> sequences;
    for (const Entry& entry : removed) sequences.insert(entry.sequence);
    std::set<std::string> objects;
    const auto add = [&](const Entry& entry) {
      if (entry.state != EntryState::kRemoved) objects.insert(ObjectOf(entry));
    };
    for (const Entry& entry : chain_.entries) {
      if (!sequences.contains(entry.sequence)) add(entry);
    }
    for (const Chain& chain : others_) std::ranges::for_each(chain.entries, add);
    return objects;
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
    record.kept = KeptPlaces();
    draft.record = std::move(record);
    return writer_.Append(std::move(draft)).status();
  }

  // What has taken a place since, and is not being removed: its neighbours speak of another, and
  // the records that let that one be absent go with this one.
  std::vector<KeptPlace> KeptPlaces() const {
    std::vector<KeptPlace> kept;
    for (const Entry& entry : chain_.entries) {
      if (!entry.took_pruned_place || Contains(absent_, entry.sequence)) continue;
      kept.push_back({.sequence = entry.sequence, .manifest_sha256 = entry.manifest_sha256});
    }
    return kept;
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
  const Timestamp now_;
  const Timestamp before_;
  Chain chain_;                // the signing key's
  std::vector<Chain> others_;  // the verify keys'
  Listing listing_;
  std::set<uint64_t> spared_;   // sequences
  std::set<uint64_t> dropped_;  // sequences
  std::vector<Entry> incomplete_;
  std::vector<Entry> old_prune_entries_;
  std::vector<SequenceRange> absent_;  // as the newest record has it
  std::set<std::string> in_use_;       // payloads of what stays
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
