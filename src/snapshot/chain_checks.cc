#include "snapshot/chain_checks.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>

#include "base/status.h"

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

void MarkRemoved(Chain& chain) {
  const std::vector<SequenceRange> absent = AbsentOf(chain);
  const std::set<std::string> objects = ObjectsBut(chain, absent);
  for (Entry& entry : chain.entries) {
    if (!Contains(absent, entry.sequence)) continue;
    if (entry.IsBackup() && IsLaterThanPrune(chain, entry) &&
        !objects.contains(entry.manifest->backup()->object)) {
      entry.took_pruned_place = true;
      continue;
    }
    entry.state = EntryState::kRemoved;
    entry.problem = "pruned";
  }
}

// What the writer found without a signature of its own, and passed over, is not the chain's, though
// somebody put another signature beside it.
void MarkPassedOver(Chain& chain) {
  for (size_t i = 1; i < chain.entries.size(); ++i) {
    Entry& before = chain.entries[i - 1];
    const Entry& entry = chain.entries[i];
    if (before.state != EntryState::kBadSignature || !entry.manifest) continue;
    if (before.sequence + 1 != entry.sequence) continue;
    const PreviousEntry& previous = *entry.manifest->previous;
    if (previous.was_signed || previous.manifest_sha256 != before.manifest_sha256) continue;
    before.state = EntryState::kIncomplete;
    before.problem = "without a signature of the key; the next entry's writer passed it over";
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

void CheckLinks(Chain& chain) {
  for (size_t i = 1; i < chain.entries.size(); ++i) {
    const Entry& before = chain.entries[i - 1];
    const Entry& entry = chain.entries[i];
    if (!entry.manifest || before.sequence + 1 != entry.sequence) continue;
    if (before.state == EntryState::kRemoved) continue;  // what is left of it does not count
    if (before.took_pruned_place || entry.took_pruned_place) continue;
    CheckLink(chain, before, entry);
  }
}

void CheckTimes(Chain& chain) {
  Entry* before = nullptr;
  for (Entry& entry : chain.entries) {
    if (!entry.manifest || entry.took_pruned_place) continue;
    if (before != nullptr && entry.manifest->time < before->manifest->time) {
      before->time_out_of_order = entry.time_out_of_order = true;
      Raise(chain, Alarm::Kind::kTimeOutOfOrder, entry.sequence,
            fmt::format("it says {}, and entry {} before it says {}: a clock was wrong; prune "
                        "counts neither",
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
