// Trying again, for as long as it makes sense.
#ifndef CRYPTVOL_S3_RETRY_H_
#define CRYPTVOL_S3_RETRY_H_

#include <chrono>
#include <functional>
#include <stop_token>

#include "absl/status/status.h"
#include "base/deadline.h"

namespace cryptvol::s3 {

struct RetryPolicy {
  int max_tries = 8;
  // Before try n + 1 lies a random time of at most first_wait * 2^(n - 1), and at most max_wait.
  std::chrono::milliseconds first_wait{400};
  std::chrono::milliseconds max_wait{20'000};
};

struct Attempt {
  absl::Status status;
  bool retryable = false;
  bool progress = false;  // it got further than the one before: the count starts anew
};

// Calls `attempt` until it succeeds, fails for good, the tries are used up, the deadline passes or a
// stop is requested, and gives its last status. The number of tries is added to the message of an
// error that tries could not mend, and to a try that ended with the deadline why the one before it failed.
absl::Status Retry(const RetryPolicy& policy, Deadline deadline, const std::stop_token& stop,
                   const std::function<Attempt()>& attempt);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_RETRY_H_
