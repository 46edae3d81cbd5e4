// What the entries of a chain say about each other: docs/format.md, "Reading".
#ifndef CRYPTVOL_SNAPSHOT_CHAIN_CHECKS_H_
#define CRYPTVOL_SNAPSHOT_CHAIN_CHECKS_H_

#include <cstdint>
#include <vector>

#include "snapshot/catalog.h"

namespace cryptvol::snapshot {

// Sets kRemoved and time_out_of_order, and adds the alarms. Entries ascend, and have the states that
// each of them has by itself. Pure.
void JudgeChain(Chain& chain);

// The sequence behind which the next entry is written: of the last signed one, or of what stands
// directly behind that. What lies farther has no part in the chain; anybody may have put it there.
uint64_t EndOf(const Chain& chain);

// What the prune entries that are there let be absent, each of them: of two at once neither knows
// what the other one removes. Empty when there is none.
std::vector<SequenceRange> AbsentOf(const Chain& chain);

bool Contains(const std::vector<SequenceRange>& ranges, uint64_t sequence);

// Ascending, apart, with `more` in them.
std::vector<SequenceRange> MergeRanges(std::vector<SequenceRange> ranges,
                                       const std::vector<SequenceRange>& more);

std::vector<SequenceRange> WithoutSequence(const std::vector<SequenceRange>& ranges,
                                           uint64_t sequence);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_CHAIN_CHECKS_H_
