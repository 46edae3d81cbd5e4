#include "snapshot/retention.h"

#include <algorithm>
#include <numeric>

namespace cryptvol::snapshot {
namespace {

using std::chrono::days;
using std::chrono::year_month_day;

int64_t Hour(Timestamp time) {
  return std::chrono::floor<std::chrono::hours>(time).time_since_epoch().count();
}
int64_t Day(Timestamp time) { return std::chrono::floor<days>(time).time_since_epoch().count(); }
// The first day of 1970 was a Thursday.
int64_t Week(Timestamp time) { return (Day(time) + 3) / 7; }
int64_t Month(Timestamp time) {
  const year_month_day date(std::chrono::floor<days>(time));
  return int64_t{12} * static_cast<int>(date.year()) + static_cast<unsigned>(date.month());
}

// Positions of the times, the newest first.
std::vector<size_t> NewestFirst(const std::vector<Timestamp>& times) {
  std::vector<size_t> order(times.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](size_t a, size_t b) {
    return times[a] != times[b] ? times[a] > times[b] : a > b;
  });
  return order;
}

}  // namespace

std::vector<bool> ChooseKept(const std::vector<Timestamp>& times, const RetentionPolicy& policy) {
  std::vector<bool> kept(times.size(), false);
  const std::vector<size_t> order = NewestFirst(times);
  if (order.empty()) return kept;
  const auto keep_newest_of_each = [&](uint64_t count, int64_t (*period)(Timestamp)) {
    std::optional<int64_t> last;
    for (const size_t i : order) {
      if (count == 0) return;
      if (last == period(times[i])) continue;
      last = period(times[i]);
      kept[i] = true;
      --count;
    }
  };
  for (size_t i = 0; i < order.size() && i < std::max<uint64_t>(policy.last, 1); ++i) {
    kept[order[i]] = true;
  }
  keep_newest_of_each(policy.hourly, Hour);
  keep_newest_of_each(policy.daily, Day);
  keep_newest_of_each(policy.weekly, Week);
  keep_newest_of_each(policy.monthly, Month);
  if (policy.within) {
    const Timestamp newest = times[order.front()];
    for (const size_t i : order) kept[i] = kept[i] || newest - times[i] <= *policy.within;
  }
  return kept;
}

}  // namespace cryptvol::snapshot
