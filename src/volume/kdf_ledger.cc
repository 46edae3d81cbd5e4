#include "volume/kdf_ledger.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "base/status.h"

namespace cryptvol::volume {
namespace {

// Far more processes, and more MiB for each, than a node has.
constexpr int kSlots = 64;
constexpr off_t kSlotBytes = off_t{1} << 40;
// Held while a process compares and writes.
constexpr off_t kGate = kSlots * kSlotBytes;

off_t ToMiB(uint64_t bytes) {
  return static_cast<off_t>(bytes >> 20) + (bytes % (uint64_t{1} << 20) != 0 ? 1 : 0);
}

// The first byte of a slot says that a process has it; the MiB are counted from the second.
off_t SlotStart(int slot) { return slot * kSlotBytes; }

bool SetLock(int fd, short type, off_t start, off_t length) {
  struct flock range = {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = start;
  range.l_len = length;
  return TEMP_FAILURE_RETRY(::fcntl(fd, F_OFD_SETLK, &range)) == 0;
}

// How many bytes of the slot, its first not counted, another open file has locked. They are one lock.
off_t LockedByAnother(int fd, int slot) {
  const off_t first = SlotStart(slot) + 1;
  struct flock range = {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = first;
  range.l_len = kSlotBytes - 1;
  if (::fcntl(fd, F_OFD_GETLK, &range) != 0 || range.l_type == F_UNLCK) return 0;
  return range.l_start + range.l_len - first;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KdfLedger>> KdfLedger::Open(const std::string& path) {
  CV_ASSIGN_OR_RETURN(UniqueFd file, OpenFile(path, O_RDWR | O_CREAT, 0600));
  for (int slot = 0; slot < kSlots; ++slot) {
    if (SetLock(file.get(), F_WRLCK, SlotStart(slot), 1)) {
      return std::unique_ptr<KdfLedger>(new KdfLedger(std::move(file), slot));
    }
    if (errno != EAGAIN && errno != EACCES) return ErrnoStatus(errno, "lock " + path);
  }
  return MakeStatus(absl::StatusCode::kResourceExhausted,
                    "{} processes share {}, and no more can: end some of the commands", kSlots,
                    path);
}

bool KdfLedger::TryRaise(uint64_t own_bytes, uint64_t total_bytes) {
  if (!SetLock(file_.get(), F_WRLCK, kGate, 1)) return false;
  const uint64_t taken = others();
  const bool room = taken == 0 || (own_bytes <= total_bytes && taken <= total_bytes - own_bytes);
  if (room) Record(own_bytes);
  SetLock(file_.get(), F_UNLCK, kGate, 1);
  return room;
}

void KdfLedger::Lower(uint64_t own_bytes) { Record(own_bytes); }

void KdfLedger::Record(uint64_t own_bytes) {
  const off_t length = 1 + ToMiB(own_bytes);
  const off_t start = SlotStart(slot_);
  SetLock(file_.get(), F_WRLCK, start, length);
  SetLock(file_.get(), F_UNLCK, start + length, kSlotBytes - length);
}

uint64_t KdfLedger::others() const {
  uint64_t total = 0;
  for (int slot = 0; slot < kSlots; ++slot) {
    if (slot == slot_) continue;
    total += static_cast<uint64_t>(LockedByAnother(file_.get(), slot)) << 20;
  }
  return total;
}

}  // namespace cryptvol::volume
