// What a disk was told, in order: the log that the device-mapper target log-writes keeps, and disks
// as a loss of power in the middle may leave them.
#ifndef CRYPTVOL_TESTS_VM_WRITE_LOG_H_
#define CRYPTVOL_TESTS_VM_WRITE_LOG_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace cryptvol::vm {

struct LoggedWrite {
  uint64_t offset = 0;   // on the device, in bytes
  uint64_t bytes = 0;    // 0 for a flush alone
  bool flush = false;    // what came before it is on the disk
  bool durable = false;  // it is on the disk itself when it is done (FUA)
  bool discard = false;  // no data: reads zero from then on
  std::string mark;      // what the test wrote there: nothing that the disk was told
  uint64_t data = 0;     // where the log has the data
};

class WriteLog {
 public:
  // `device`: the one that log-writes logged to, after the target was removed.
  explicit WriteLog(const std::string& device);

  const std::vector<LoggedWrite>& writes() const { return writes_; }
  // The first with that mark; its number is that of the writes before it. writes().size(): none.
  size_t FindMark(const std::string& mark) const;

  // Does the first `count` writes to a file. A disk keeps what was flushed; of what came after the
  // last flush, those for which `lost` says so are not done.
  void Replay(size_t count, const std::string& file, const std::function<bool()>& lost) const;
  // How many of the first `count` a disk may lose.
  size_t Unflushed(size_t count) const;

 private:
  void Apply(const LoggedWrite& write, int file) const;
  // Number of the first write that no flush among the first `count` covers.
  size_t FlushedBefore(size_t count) const;

  UniqueFd log_;
  std::vector<LoggedWrite> writes_;
};

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_WRITE_LOG_H_
