#include "snapshot/time_order.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ranges>

namespace cryptvol::snapshot {
namespace {

// For each value how many the longest run has that ends with it and does not decrease, others
// between its members left out.
std::vector<size_t> RunsUpTo(const std::vector<int64_t>& values) {
  std::vector<int64_t> lowest;  // that a run of each length can end with
  std::vector<size_t> lengths;
  lengths.reserve(values.size());
  for (const int64_t value : values) {
    const auto end = std::ranges::upper_bound(lowest, value);
    lengths.push_back(static_cast<size_t>(end - lowest.begin()) + 1);
    if (end == lowest.end()) {
      lowest.push_back(value);
    } else {
      *end = value;
    }
  }
  return lengths;
}

std::vector<int64_t> Seconds(const std::vector<Timestamp>& times) {
  std::vector<int64_t> seconds;
  for (const Timestamp time : times) seconds.push_back(time.time_since_epoch().count());
  return seconds;
}

// The same for the longest run that begins with it.
std::vector<size_t> RunsFrom(const std::vector<int64_t>& values) {
  std::vector<int64_t> mirrored;
  for (const int64_t value : std::views::reverse(values)) mirrored.push_back(-value);
  std::vector<size_t> lengths = RunsUpTo(mirrored);
  std::ranges::reverse(lengths);
  return lengths;
}

}  // namespace

std::vector<bool> FindFitting(const std::vector<Timestamp>& times) {
  const std::vector<int64_t> values = Seconds(times);
  const std::vector<size_t> up_to = RunsUpTo(values);
  const std::vector<size_t> from = RunsFrom(values);
  const size_t longest = times.empty() ? 0 : std::ranges::max(up_to);
  // Members of a longest run that can stand at each place of one.
  std::vector<size_t> candidates(longest + 1, 0);
  const auto is_member = [&](size_t i) { return up_to[i] + from[i] == longest + 1; };
  for (size_t i = 0; i < times.size(); ++i) candidates[up_to[i]] += is_member(i) ? 1 : 0;
  std::vector<bool> fitting;
  for (size_t i = 0; i < times.size(); ++i) {
    fitting.push_back(is_member(i) && candidates[up_to[i]] == 1);
  }
  return fitting;
}

}  // namespace cryptvol::snapshot
