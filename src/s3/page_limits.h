// How long a listing may be: the server decides that, and nobody knows whose it is.
#ifndef CRYPTVOL_S3_PAGE_LIMITS_H_
#define CRYPTVOL_S3_PAGE_LIMITS_H_

#include <cstddef>
#include <string>
#include <unordered_set>
#include <utility>

#include "absl/status/status.h"

namespace cryptvol::s3 {

// Texts of a listing, in bytes: a million keys of some length are below.
inline constexpr size_t kMaxListedBytes = size_t{256} << 20;
// Servers skip deleted objects a page at a time; but not for ever.
inline constexpr size_t kMaxEmptyPages = 1000;

class PageLimits {
 public:
  // `what` is the operation, for errors.
  PageLimits(std::string what, size_t max_results)
      : what_(std::move(what)), max_results_(max_results) {}

  struct Page {
    size_t listed = 0;  // what the server showed
    size_t taken = 0;   // how much of it is kept
    size_t bytes = 0;   // of the texts that are kept
    std::string next;   // where the next page begins; empty: this is the last one
  };
  // Of each page that came.
  //  RESOURCE_EXHAUSTED  there is more than a listing may have
  //  DATA_LOSS           the pages would never end
  absl::Status Add(const Page& page);

 private:
  const std::string what_;
  const size_t max_results_;
  size_t results_ = 0;
  size_t bytes_ = 0;
  size_t empty_pages_ = 0;  // in a row
  std::unordered_set<std::string> seen_;
};

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_PAGE_LIMITS_H_
