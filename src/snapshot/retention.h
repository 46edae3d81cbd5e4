// Which backups a policy keeps: a pure decision.
#ifndef CRYPTVOL_SNAPSHOT_RETENTION_H_
#define CRYPTVOL_SNAPSHOT_RETENTION_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

// A backup is kept when one of the rules wants it. Of each hour, day, week (from Monday) and month,
// in UTC, the newest counts; the newest such hours, days... that have one are kept.
struct RetentionPolicy {
  uint64_t last = 0;
  uint64_t hourly = 0;
  uint64_t daily = 0;
  uint64_t weekly = 0;
  uint64_t monthly = 0;
  std::optional<std::chrono::seconds> within;  // before the newest backup, not before now

  bool empty() const {
    return last == 0 && hourly == 0 && daily == 0 && weekly == 0 && monthly == 0 && !within;
  }
};

// For each time whether it is kept. Times in any order; the newest is always kept. A time that a
// wrong clock gave makes the others look old: the caller leaves those out.
std::vector<bool> ChooseKept(const std::vector<Timestamp>& times, const RetentionPolicy& policy);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_RETENTION_H_
