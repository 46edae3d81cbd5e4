// Names in messages, not more than a person reads: strangers decide how many there are.
#ifndef CRYPTVOL_SNAPSHOT_NAME_LIST_H_
#define CRYPTVOL_SNAPSHOT_NAME_LIST_H_

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "fmt/format.h"

namespace cryptvol::snapshot {

inline constexpr size_t kMaxListedNames = 20;

// "a, b, c"; of more than kMaxListedNames the first, and how many there are in all.
inline std::string NameList(const std::vector<std::string>& names) {
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), kMaxListedNames); ++i) {
    list += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > kMaxListedNames) list += fmt::format(", ... ({} in all)", names.size());
  return list;
}

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_NAME_LIST_H_
