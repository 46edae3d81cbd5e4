// The program behind `save -- COMMAND`: its standard output is what is saved.
#ifndef CRYPTVOL_CRYPTSNAP_PRODUCER_H_
#define CRYPTVOL_CRYPTSNAP_PRODUCER_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/stream.h"
#include "base/unique_fd.h"

namespace cryptvol::cryptsnap {

// It runs as the user's shell would run it: with this process's environment, standard input and
// standard error. It gets no descriptor of ours.
class Producer : public ByteSource {
 public:
  // NOT_FOUND when there is no such program.
  static absl::StatusOr<std::unique_ptr<Producer>> Start(const std::vector<std::string>& command);
  // Ends a program that still runs: SIGTERM, after 5 seconds SIGKILL.
  ~Producer() override;
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override;

  // Waits for its end. FAILED_PRECONDITION unless it exited with status 0.
  absl::Status Wait();

 private:
  Producer(std::string name, pid_t pid, UniqueFd out)
      : name_(std::move(name)), pid_(pid), out_(std::move(out)) {}
  const std::string name_;
  pid_t pid_;  // -1 when it was waited for
  UniqueFd out_;
};

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_PRODUCER_H_
