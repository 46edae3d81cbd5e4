// What the driver and the commands beside it let key derivations take, so that together they stay
// within one budget: they share a control group, and its limit kills them together.
#ifndef CRYPTVOL_VOLUME_KDF_LEDGER_H_
#define CRYPTVOL_VOLUME_KDF_LEDGER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace cryptvol::volume {

// A file without content. Each process has a range of offsets in it, and locks as many bytes of that
// as it has MiB of memory granted, by open file description locks (fcntl(2), F_OFD_SETLK). The kernel
// drops them with the process, however it ends, so that no entry is ever stale.
//
// One call at a time: KdfBudget makes them under its mutex.
class KdfLedger {
 public:
  // Makes the file if need be. RESOURCE_EXHAUSTED with too many processes at once.
  static absl::StatusOr<std::unique_ptr<KdfLedger>> Open(const std::string& path);

  // Records that this process has `own_bytes` granted, more than before, unless that and what others
  // have are more than `total_bytes`, or another process is at this very moment in this call: false
  // then, and nothing changed. Waits for nothing. One that alone has something may exceed the total.
  bool TryRaise(uint64_t own_bytes, uint64_t total_bytes);
  void Lower(uint64_t own_bytes);

  uint64_t others() const;  // bytes

 private:
  KdfLedger(UniqueFd file, int slot) : file_(std::move(file)), slot_(slot) {}
  void Record(uint64_t own_bytes);

  UniqueFd file_;
  int slot_;  // which of the ranges is this process's
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_KDF_LEDGER_H_
