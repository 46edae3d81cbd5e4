#include "volume/kdf_budget.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::volume {
namespace {

// What a process group takes differs from one moment to the next: a limit that is just enough now
// will not be.
constexpr uint64_t kLimitSlack = uint64_t{16} << 20;
constexpr std::chrono::milliseconds kLookAgain(100);
constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

uint64_t ToMiB(uint64_t bytes) { return (bytes + (uint64_t{1} << 20) - 1) >> 20; }

// The number at the start of a file; kUnlimited for "max", an absent file, or none.
uint64_t ReadNumber(const std::string& path) {
  auto text = ReadSmallFile(path, 4096);
  if (!text.ok()) return kUnlimited;
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  return error == std::errc() ? value : kUnlimited;
}

// Of a control group's memory.stat, in bytes.
uint64_t CachedFiles(const std::string& stat_path) {
  auto text = ReadSmallFile(stat_path);
  if (!text.ok()) return 0;
  uint64_t total = 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::pair<absl::string_view, absl::string_view> field = absl::StrSplit(line, ' ');
    uint64_t bytes = 0;
    const bool cache = field.first == "inactive_file" || field.first == "active_file";
    if (cache && absl::SimpleAtoi(field.second, &bytes)) total += bytes;
  }
  return total;
}

FreeMemory FreeInGroup(const std::string& directory, const char* limit_name,
                       const char* usage_name) {
  const uint64_t limit = ReadNumber(directory + limit_name);
  const uint64_t usage = ReadNumber(directory + usage_name);
  if (limit == kUnlimited || usage == kUnlimited) return {kUnlimited, 0};
  const uint64_t cached = CachedFiles(directory + "/memory.stat");
  const uint64_t taken = usage - std::min(usage, cached);
  return {limit - std::min(limit, taken), limit};
}

uint64_t MachineAvailable() {
  auto text = ReadSmallFile("/proc/meminfo");
  if (!text.ok()) return kUnlimited;
  const size_t at = text->find("MemAvailable:");
  if (at == std::string::npos) return kUnlimited;
  const char* begin = text->data() + at + sizeof("MemAvailable:") - 1;
  const char* end = text->data() + text->size();
  begin = std::find_if(begin, end, [](char c) { return c >= '0' && c <= '9'; });
  uint64_t kib = 0;
  std::from_chars(begin, end, kib);
  return kib * 1024;
}

// This process's own group in the unified hierarchy: inside a container's cgroup namespace that is
// "/".
std::string OwnCgroup() {
  auto text = ReadSmallFile("/proc/self/cgroup");
  if (!text.ok()) return "";
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (absl::StartsWith(line, "0::")) return std::string(line.substr(3));
  }
  return "";
}

absl::Status TooLarge(uint64_t kdf_bytes, uint64_t bytes, const FreeMemory& free) {
  const std::string way_out =
      free.limit == 0
          ? "the machine has no more: make room on it"
          : fmt::format(
                "give the driver's container a memory limit of at least {} MiB (it is {} MiB)",
                ToMiB(free.limit + bytes - free.bytes + kLimitSlack), ToMiB(free.limit));
  return MakeStatus(
      absl::StatusCode::kResourceExhausted,
      "the keyslot's key derivation takes {} MiB of memory and {} MiB are free; {}, or make the "
      "keyslot cheaper on a larger one (cryptsetup luksConvertKey --pbkdf-memory)",
      ToMiB(kdf_bytes), free.bytes >> 20, way_out);
}

}  // namespace

FreeMemory ReadFreeMemory() {
  return std::ranges::min(
      {FreeMemory{MachineAvailable(), 0},
       FreeInGroup("/sys/fs/cgroup" + OwnCgroup(), "/memory.max", "/memory.current"),
       FreeInGroup("/sys/fs/cgroup/memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes")},
      {}, &FreeMemory::bytes);
}

KdfBudget::KdfBudget(uint64_t total_bytes, std::function<FreeMemory()> free_memory,
                     std::unique_ptr<KdfLedger> ledger)
    : total_(total_bytes), free_memory_(std::move(free_memory)), ledger_(std::move(ledger)) {}

KdfBudget::Grant::Grant(Grant&& other) noexcept
    : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}

KdfBudget::Grant::~Grant() {
  if (budget_ != nullptr) budget_->Release(bytes_);
}

bool KdfBudget::Take(uint64_t bytes) {
  if (in_use_ != 0 && (bytes > total_ || in_use_ > total_ - bytes)) return false;
  if (ledger_ != nullptr && !ledger_->TryRaise(in_use_ + bytes, total_)) return false;
  in_use_ += bytes;
  return true;
}

void KdfBudget::GiveBack(uint64_t bytes) {
  in_use_ -= bytes;
  if (ledger_ != nullptr) ledger_->Lower(in_use_);
}

// In the order of asking. Other processes do not tell when they are done.
bool KdfBudget::WaitForRoom(std::unique_lock<std::mutex>& lock, uint64_t bytes, Deadline deadline) {
  const uint64_t ticket = next_ticket_++;
  queue_.push_back(ticket);
  const auto is_next = [&] { return queue_.front() == ticket; };
  bool taken = false;
  while (!(taken = is_next() && Take(bytes)) && !deadline.expired()) {
    const bool look_again = ledger_ != nullptr && is_next();
    const Deadline until =
        look_again ? Deadline::Earlier(deadline, Deadline::After(kLookAgain)) : deadline;
    changed_.wait_until(lock, until.time());
  }
  std::erase(queue_, ticket);
  changed_.notify_all();
  return taken;
}

absl::StatusOr<KdfBudget::Grant> KdfBudget::Acquire(uint64_t kdf_bytes, Deadline deadline) {
  const uint64_t bytes = kdf_bytes + kWorkerBytes;
  std::unique_lock lock(mutex_);
  if (!WaitForRoom(lock, bytes, deadline)) return NoRoomInTime();
  if (const FreeMemory free = free_memory_(); bytes > total_ && bytes > free.bytes) {
    GiveBack(bytes);
    changed_.notify_all();
    return TooLarge(kdf_bytes, bytes, free);
  }
  most_in_use_ = std::max(most_in_use_, in_use_);
  return Grant(this, bytes);
}

absl::Status KdfBudget::NoRoomInTime() const {
  std::string others;
  if (const uint64_t taken = ledger_ == nullptr ? 0 : ledger_->others(); taken > 0) {
    others = fmt::format(
        "; other cryptvol-csi processes on this node have {} MiB of it (fuser -v "
        "on the file kdf.lock in the state directory names them)",
        ToMiB(taken));
  }
  return MakeStatus(
      absl::StatusCode::kDeadlineExceeded,
      "other volumes are being unlocked, and the memory for key derivations ({} MiB) was not free "
      "in time{}; it is tried again",
      ToMiB(total_), others);
}

void KdfBudget::Release(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  GiveBack(bytes);
  changed_.notify_all();
}

uint64_t KdfBudget::in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

uint64_t KdfBudget::most_in_use() const {
  const std::lock_guard lock(mutex_);
  return most_in_use_;
}

}  // namespace cryptvol::volume
