#include "s3/retry.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>

#include "base/status.h"

namespace cryptvol::s3 {
namespace {

using std::chrono::milliseconds;

// At random between nothing and all of it, so that many clients do not come back at once.
milliseconds Wait(const RetryPolicy& policy, int tries) {
  thread_local std::minstd_rand random{std::random_device{}()};
  milliseconds most = policy.first_wait;
  for (int i = 1; i < tries && most < policy.max_wait; ++i) most *= 2;
  most = std::min(most, policy.max_wait);
  return milliseconds(std::uniform_int_distribution<milliseconds::rep>(0, most.count())(random));
}

void SleepFor(milliseconds time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait_for(lock, stop, time, [] { return false; });
}

absl::Status WithTries(const absl::Status& status, int tries) {
  if (tries == 1) return status;
  return MakeStatus(status.code(), "{} (tried {} times)", Message(status), tries);
}

// The last try may have had no time to learn what is wrong; the one before it had.
absl::Status WithEarlier(const absl::Status& status, const absl::Status& earlier, int tries) {
  if (earlier.ok() || !absl::IsDeadlineExceeded(status)) return status;
  return MakeStatus(status.code(), "{} (try {}; the one before: {})", Message(status), tries,
                    Message(earlier));
}

}  // namespace

absl::Status Retry(const RetryPolicy& policy, Deadline deadline, const std::stop_token& stop,
                   const std::function<Attempt()>& attempt) {
  int counted = 0;
  absl::Status earlier;
  for (int tries = 1;; ++tries) {
    const Attempt last = attempt();
    if (last.status.ok()) return last.status;
    if (!last.retryable) return WithEarlier(last.status, earlier, tries);
    counted = last.progress ? 1 : counted + 1;
    if (counted >= policy.max_tries) return WithTries(last.status, tries);
    const milliseconds wait = Wait(policy, counted);
    if (wait >= deadline.remaining()) {
      return MakeStatus(absl::StatusCode::kDeadlineExceeded,
                        "{} (tried {} times until no time was left)", Message(last.status), tries);
    }
    earlier = last.status;
    SleepFor(wait, stop);
    if (stop.stop_requested()) return absl::CancelledError("stopped");
  }
}

}  // namespace cryptvol::s3
