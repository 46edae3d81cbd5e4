// Foreign bytes: how they are refused, and how they are shown.
#ifndef CRYPTVOL_ETCD_FOREIGN_H_
#define CRYPTVOL_ETCD_FOREIGN_H_

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace cryptvol::etcd {

template <typename... Args>
[[nodiscard]] absl::Status Damaged(fmt::format_string<Args...> format, Args&&... args) {
  return MakeStatus(absl::StatusCode::kDataLoss, format, std::forward<Args>(args)...);
}

// Foreign text for a message: '?' for all that is not printable ASCII, of a bounded length.
inline std::string ForeignText(std::string_view text) {
  constexpr size_t kMost = 300;
  std::string shown(text.substr(0, kMost));
  std::ranges::replace_if(shown, [](char c) { return c < ' ' || c > '~'; }, '?');
  return shown;
}

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_FOREIGN_H_
