#include "s3/page_limits.h"

#include "base/status.h"

namespace cryptvol::s3 {

absl::Status PageLimits::Add(const Page& page) {
  results_ += page.taken;
  bytes_ += page.bytes + page.next.size();
  if (results_ > max_results_) {
    return MakeStatus(absl::StatusCode::kResourceExhausted,
                      "{}: more than {} results; use a narrower prefix", what_, max_results_);
  }
  if (bytes_ > kMaxListedBytes) {
    return MakeStatus(absl::StatusCode::kResourceExhausted,
                      "{}: names of more than {} bytes; use a narrower prefix", what_,
                      kMaxListedBytes);
  }
  if (page.next.empty()) return absl::OkStatus();
  empty_pages_ = page.listed == 0 ? empty_pages_ + 1 : 0;
  if (empty_pages_ > kMaxEmptyPages) {
    return MakeStatus(
        absl::StatusCode::kDataLoss,
        "{}: {} pages in a row had nothing in them, and another one shall follow; the "
        "server is at fault",
        what_, empty_pages_);
  }
  if (seen_.insert(page.next).second) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "{}: a token came twice: the pages would never end; the server is at fault",
                    what_);
}

}  // namespace cryptvol::s3
