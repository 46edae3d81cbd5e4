// What the program's exit status says, and the hint under an error. docs/cryptsnap.md tells users.
#ifndef CRYPTVOL_CRYPTSNAP_EXIT_STATUS_H_
#define CRYPTVOL_CRYPTSNAP_EXIT_STATUS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace cryptvol::cryptsnap {

enum class ExitStatus {
  kDone = 0,
  kOther = 1,
  kUsage = 2,
  kWrongKey = 3,   // or a damaged header: the two cannot be told apart
  kTampering = 4,  // altered data, a bad signature, a fork, a gap
  kNotFound = 5,
  kStale = 6,
  kTransport = 7,  // etcd or S3 cannot be reached, or refuse
};

// Says what a code alone cannot: the same code is a wrong age key in one place and a wrong S3 key
// in another. The innermost word counts: a status that has one keeps it. OK stays OK.
absl::Status WithExitStatus(absl::Status status, ExitStatus exit_status);

// As above, for the line behind "hint:".
absl::Status WithHint(absl::Status status, std::string_view hint);

// INVALID_ARGUMENT with kUsage.
absl::Status UsageError(std::string_view message, std::string_view hint = {});

// By the word that was set, else by the code.
ExitStatus ExitStatusOf(const absl::Status& status);
std::string HintOf(const absl::Status& status);

// Prints error and hint to standard error and gives what main returns. A full disk has a hint of its
// own where none was given. Silent for OK.
int Report(const absl::Status& status);

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_EXIT_STATUS_H_
