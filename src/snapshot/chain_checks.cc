#include "snapshot/chain_checks.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>

#include "base/status.h"
#include "snapshot/time_order.h"

namespace cryptvol::snapshot {
namespace {

void Raise(Chain& chain, Alarm::Kind kind, uint64_t sequence, std::string message) {
  chain.alarms.push_back(
      {.kind = kind,
       .writer = chain.writer,
       .sequence = sequence,
       .message = fmt::format("entry {} of key {}: {}", sequence, chain.writer, message)});
}

// Of what stays: an entry that a writer wrote once more, since it saw that prune had taken the
// first one's place, has the first one's payload.
std::set<std::string> ObjectsBut(const Chain& chain, const std::vector<SequenceRange>& absent) {
  std::set<std::string> objects;
  for (const Entry& entry : chain.entries) {
    const bool stays =
        entry.manifest && entry.manifest->backup() != nullptr && !Contains(absent, entry.sequence);
    if (stays) objects.insert(entry.manifest->backup()->object);
  }
  return objects;
}

// Whether it was signed after every prune entry that lets its sequence be absent: then these mean
// the one that had it before.
bool IsLaterThanPrune(const Chain& chain, const Entry& entry) {
  return std::ranges::all_of(chain.entries, [&](const Entry& other) {
    const PruneRecord* prune = other.manifest ? other.manifest->prune() : nullptr;
    return prune == nullptr || !Contains(prune->absent, entry.sequence) ||
           other.manifest->time < entry.manifest->time;
  });
}

// What stands where another was removed, which is not in `absent` any more.
std::vector<KeptPlace> KeptOf(const Chain& chain) {
  std::vector<KeptPlace> kept;
  for (const Entry& entry : chain.entries) {
    const PruneRecord* prune = entry.manifest ? entry.manifest->prune() : nullptr;
    if (prune != nullptr) kept.insert(kept.end(), prune->kept.begin(), prune->kept.end());
  }
  return kept;
}

void MarkRemoved(Chain& chain) {
  const std::vector<SequenceRange> absent = AbsentOf(chain);
  const std::set<std::string> objects = ObjectsBut(chain, absent);
  const std::vector<KeptPlace> kept = KeptOf(chain);
  for (Entry& entry : chain.entries) {
    if (!Contains(absent, entry.sequence)) {
      const KeptPlace place{.sequence = entry.sequence, .manifest_sha256 = entry.manifest_sha256};
      entry.took_pruned_place = std::ranges::find(kept, place) != kept.end();
      continue;
    }
    if (entry.IsBackup() && IsLaterThanPrune(chain, entry) &&
        !objects.contains(entry.manifest->backup()->object)) {
      entry.took_pruned_place = true;
      continue;
    }
    entry.state = EntryState::kRemoved;
    entry.problem = "pruned";
  }
}

// Whether a signed entry's `previous` says that its writer found this one without a signature of
// the key. Of the one directly before it is about what has that digest. Of others, whose digests
// nothing signed has, it is about the place: the last signed one is not among them.
bool WasPassedOver(const Entry& before, const PreviousEntry& previous) {
  if (previous.was_signed) return false;
  if (before.sequence == previous.sequence) {
    return before.manifest_sha256 == previous.manifest_sha256;
  }
  return before.sequence < previous.sequence && previous.last_signed &&
         before.sequence > *previous.last_signed;
}

// What a writer passed over is not the chain's, though there is a signature beside it, of others or
// of another entry.
void MarkPassedOver(Chain& chain) {
  for (size_t i = 1; i < chain.entries.size(); ++i) {
    const Entry& entry = chain.entries[i];
    if (!entry.manifest || !entry.manifest->previous) continue;
    const PreviousEntry& previous = *entry.manifest->previous;
    const uint64_t end = previous.last_signed.value_or(previous.sequence - 1);
    for (size_t j = i; j-- > 0 && chain.entries[j].sequence > end;) {
      Entry& before = chain.entries[j];
      const bool is_none =
          before.state == EntryState::kBadSignature || before.state == EntryState::kMalformed;
      if (!is_none || !WasPassedOver(before, previous)) continue;
      before.state = EntryState::kIncomplete;
      before.passed_over = true;
      before.problem = fmt::format(
          "without a signature of the key; the writer of entry {} passed it over", entry.sequence);
    }
  }
}

void RaiseByState(Chain& chain) {
  const uint64_t end = EndOf(chain);
  for (const Entry& entry : chain.entries) {
    if (chain.head() != nullptr && entry.sequence > end) break;  // it has no part in the chain
    const auto raise = [&](Alarm::Kind kind) { Raise(chain, kind, entry.sequence, entry.problem); };
    switch (entry.state) {
      case EntryState::kBadSignature:
        raise(Alarm::Kind::kBadSignature);
        break;
      case EntryState::kMalformed:
        raise(Alarm::Kind::kMalformed);
        break;
      case EntryState::kPayloadMissing:
        raise(Alarm::Kind::kPayloadMissing);
        break;
      case EntryState::kPayloadAltered:
        raise(Alarm::Kind::kPayloadAltered);
        break;
      case EntryState::kGood:
      case EntryState::kIncomplete:
      case EntryState::kRemoved:
        break;
    }
  }
}

// One alarm for each run of missing sequences.
void RaiseGap(Chain& chain, const std::vector<SequenceRange>& absent, uint64_t first,
              uint64_t last) {
  for (uint64_t from = first; from <= last;) {
    const auto range =
        std::ranges::find_if(absent, [&](const SequenceRange& r) { return r.last >= from; });
    if (range != absent.end() && range->first <= from) {
      from = range->last + 1;
      continue;
    }
    const uint64_t to = range == absent.end() ? last : std::min(last, range->first - 1);
    Raise(chain, Alarm::Kind::kGap, from,
          fmt::format("entries {} to {} are missing, and no prune entry says that they were "
                      "removed: somebody deleted them; look into the bucket's older versions",
                      from, to));
    from = to + 1;
  }
}

// What follows the last signed entry proves nothing: anybody may have put it there.
void RaiseGaps(Chain& chain) {
  const Entry* head = chain.head();
  if (head == nullptr) return;
  const uint64_t end = head->sequence;
  const std::vector<SequenceRange> absent = AbsentOf(chain);
  std::vector<uint64_t> present;
  for (const Entry& entry : chain.entries) present.push_back(entry.sequence);
  uint64_t expected = 1;
  for (const uint64_t sequence : present) {
    if (sequence > end) break;
    if (sequence > expected) RaiseGap(chain, absent, expected, sequence - 1);
    expected = sequence + 1;
  }
}

void CheckLink(Chain& chain, const Entry& before, const Entry& entry) {
  const PreviousEntry& previous = *entry.manifest->previous;
  if (before.manifest_sha256 != previous.manifest_sha256) {
    Raise(chain, Alarm::Kind::kFork, entry.sequence,
          fmt::format("it follows another entry {} than the one that is there: one of the two was "
                      "replaced, or two writers use one key on a store that replaces files",
                      before.sequence));
  } else if (before.state == EntryState::kIncomplete && previous.was_signed) {
    Raise(chain, Alarm::Kind::kSignatureMissing, before.sequence,
          "its signature was there when the next entry was written, and is gone: somebody deleted "
          "it");
  }
}

// The end of the run that the writer passed over: without this anybody who puts a manifest behind
// the last entry could take that one's signature away afterwards, and nothing would say so.
void CheckLastSigned(Chain& chain, const Entry& entry) {
  const std::optional<uint64_t> last = entry.manifest->previous->last_signed;
  if (!last) return;
  const auto found = std::ranges::find(chain.entries, *last, &Entry::sequence);
  if (found == chain.entries.end() || found->state != EntryState::kIncomplete) return;
  const bool known = std::ranges::any_of(chain.alarms, [&](const Alarm& alarm) {
    return alarm.kind == Alarm::Kind::kSignatureMissing && alarm.sequence == *last;
  });
  if (known) return;
  Raise(chain, Alarm::Kind::kSignatureMissing, *last,
        fmt::format("its signature was there when entry {} was written, and is gone: somebody "
                    "deleted it",
                    entry.sequence));
}

void CheckLinks(Chain& chain) {
  for (size_t i = 1; i < chain.entries.size(); ++i) {
    const Entry& before = chain.entries[i - 1];
    const Entry& entry = chain.entries[i];
    if (!entry.manifest || before.sequence + 1 != entry.sequence) continue;
    if (before.state == EntryState::kRemoved) continue;  // what is left of it does not count
    if (before.took_pruned_place || entry.took_pruned_place) continue;
    CheckLink(chain, before, entry);
  }
  for (const Entry& entry : chain.entries) {
    if (entry.manifest && entry.manifest->previous) CheckLastSigned(chain, entry);
  }
}

// Several that were signed while a clock was wrong are in order with each other: beside the two
// that contradict each other, the others are found by what they leave of the chain.
void MarkUnfitting(Chain& chain) {
  std::vector<Entry*> timed;
  std::vector<Timestamp> times;
  for (Entry& entry : chain.entries) {
    if (!entry.manifest || entry.took_pruned_place) continue;
    timed.push_back(&entry);
    times.push_back(entry.manifest->time);
  }
  const std::vector<bool> fitting = FindFitting(times);
  for (size_t i = 0; i < timed.size(); ++i) {
    if (!fitting[i]) timed[i]->time_out_of_order = true;
  }
}

void CheckTimes(Chain& chain) {
  MarkUnfitting(chain);
  Entry* before = nullptr;
  for (Entry& entry : chain.entries) {
    if (!entry.manifest || entry.took_pruned_place) continue;
    if (before != nullptr && entry.manifest->time < before->manifest->time) {
      before->time_out_of_order = entry.time_out_of_order = true;
      Raise(chain, Alarm::Kind::kTimeOutOfOrder, entry.sequence,
            fmt::format("it says {}, and entry {} before it says {}: a clock was wrong; prune "
                        "counts neither, and --drop removes the wrong one",
                        FormatTimestamp(entry.manifest->time), before->sequence,
                        FormatTimestamp(before->manifest->time)));
    }
    before = &entry;
  }
}

}  // namespace

const Entry* Chain::head() const {
  const auto last = std::find_if(entries.rbegin(), entries.rend(),
                                 [](const Entry& entry) { return entry.manifest.has_value(); });
  return last == entries.rend() ? nullptr : &*last;
}

uint64_t EndOf(const Chain& chain) {
  const Entry* head = chain.head();
  uint64_t last = head != nullptr ? head->sequence : 0;
  for (const Entry& entry : chain.entries) last += entry.sequence == last + 1 ? 1 : 0;
  return last;
}

std::vector<SequenceRange> AbsentOf(const Chain& chain) {
  std::vector<SequenceRange> absent;
  for (const Entry& entry : chain.entries) {
    const PruneRecord* prune = entry.manifest ? entry.manifest->prune() : nullptr;
    if (prune != nullptr) absent = MergeRanges(std::move(absent), prune->absent);
  }
  return absent;
}

bool Contains(const std::vector<SequenceRange>& ranges, uint64_t sequence) {
  return std::ranges::any_of(ranges, [sequence](const SequenceRange& range) {
    return range.first <= sequence && sequence <= range.last;
  });
}

std::vector<SequenceRange> MergeRanges(std::vector<SequenceRange> ranges,
                                       const std::vector<SequenceRange>& more) {
  ranges.insert(ranges.end(), more.begin(), more.end());
  std::ranges::sort(ranges, {}, &SequenceRange::first);
  std::vector<SequenceRange> merged;
  for (const SequenceRange& range : ranges) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

std::vector<SequenceRange> WithoutSequence(const std::vector<SequenceRange>& ranges,
                                           uint64_t sequence) {
  std::vector<SequenceRange> without;
  for (const SequenceRange& range : ranges) {
    if (sequence < range.first || sequence > range.last) {
      without.push_back(range);
      continue;
    }
    if (range.first < sequence) without.push_back({.first = range.first, .last = sequence - 1});
    if (sequence < range.last) without.push_back({.first = sequence + 1, .last = range.last});
  }
  return without;
}

void JudgeChain(Chain& chain) {
  MarkRemoved(chain);
  MarkPassedOver(chain);
  RaiseByState(chain);
  RaiseGaps(chain);
  CheckLinks(chain);
  CheckTimes(chain);
}

}  // namespace cryptvol::snapshot
