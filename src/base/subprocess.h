// Runs another program to its end: mkfs, fsck, lvm.
#ifndef CRYPTVOL_BASE_SUBPROCESS_H_
#define CRYPTVOL_BASE_SUBPROCESS_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/deadline.h"
#include "base/unique_fd.h"

namespace cryptvol {

struct Command {
  std::string program;            // a name, looked up in kToolPath, or an absolute path
  std::vector<std::string> args;  // without the program; never a secret
  // Inherited under the number in `second`; everything else but 0, 1, 2 is closed (all our
  // descriptors are O_CLOEXEC). Used to hand a volume's lock to a child, so that it outlives us if
  // the child does.
  std::vector<std::pair<int, int>> inherit;
  size_t max_output = 64 * 1024;  // of each stream; what comes later is read and dropped
};

struct CommandResult {
  int exit_status = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string out;
  std::string err;

  bool ok() const { return exit_status == 0; }
  // The end of what it printed, in one line, for a message.
  std::string Complaint() const;
};

// Where programs are looked for. The environment of the caller is not passed on: children get PATH,
// LC_ALL=C and nothing else, so that no credential reaches them and messages can be parsed.
inline constexpr std::string_view kToolPath = "/usr/sbin:/usr/bin:/sbin:/bin";

// Waits until the program ended and gives what it printed. Standard input is /dev/null.
//  FAILED_PRECONDITION  the program is not installed
//  DEADLINE_EXCEEDED    it was killed, with its process group, because the deadline passed; the
//                       message says so, and whether it really went away (a process in an
//                       uninterruptible wait does not)
// An exit status other than 0 is a result, not an error. Thread-safe.
absl::StatusOr<CommandResult> RunCommand(const Command& command, Deadline deadline);

// The path of a program in kToolPath, or FAILED_PRECONDITION naming the program.
absl::StatusOr<std::string> FindProgram(const std::string& name);

// Starts a program with `fds` as its descriptors: pairs of (ours, its number). Its process group is
// its own. The child is described by a pidfd too, which is readable when it has ended.
struct SpawnedProcess {
  pid_t pid = -1;
  UniqueFd pidfd;
};
absl::StatusOr<SpawnedProcess> Spawn(const std::string& path, const std::vector<std::string>& args,
                                     const std::vector<std::pair<int, int>>& fds);

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_SUBPROCESS_H_
