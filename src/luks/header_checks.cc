#include "luks/header_checks.h"

#include <algorithm>

#include "fmt/format.h"
#include "luks/algorithms.h"
#include "luks/foreign_text.h"

namespace cryptvol::luks {
namespace {

constexpr size_t kMaxProblems = 16;
constexpr uint32_t kMinKeyBytes = 16;
constexpr uint32_t kMaxKeyBytes = 128;
constexpr uint64_t kSectorBytes = 512;
// The largest key takes half of it. The areas are read into memory before a key is tried.
constexpr uint64_t kMaxAreaBytes = uint64_t{1} << 20;
// libcryptsetup's maximum; each lane is a thread.
constexpr uint64_t kMaxArgonLanes = 4;

uint64_t StripedBytes(uint64_t key_bytes) {
  const uint64_t bytes = key_bytes * kStripes;
  return (bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}

bool IsInside(const Keyslot& slot, uint64_t begin, uint64_t end) {
  return slot.area_offset >= begin && slot.area_offset <= end &&
         slot.area_bytes <= end - slot.area_offset;
}

void CheckArea(const Keyslot& slot, uint64_t begin, uint64_t end, Problems& problems) {
  if (!IsInside(slot, begin, end)) {
    problems.Add(fmt::format("keyslot {}: its area ({} bytes at {}) is not between {} and {}",
                             slot.id, slot.area_bytes, slot.area_offset, begin, end));
  } else if (slot.area_bytes < StripedBytes(slot.key_bytes) || slot.area_bytes > kMaxAreaBytes) {
    problems.Add(fmt::format("keyslot {}: its area has {} bytes, a key of {} bytes takes {}",
                             slot.id, slot.area_bytes, slot.key_bytes,
                             StripedBytes(slot.key_bytes)));
  }
}

void CheckOverlap(std::vector<Keyslot> slots, Problems& problems) {
  std::ranges::sort(slots, {}, &Keyslot::area_offset);
  for (size_t i = 1; i < slots.size(); ++i) {
    const Keyslot& left = slots[i - 1];
    const Keyslot& right = slots[i];
    if (right.area_offset - left.area_offset < left.area_bytes) {
      problems.Add(fmt::format("the areas of keyslots {} and {} overlap", left.id, right.id));
    }
  }
}

}  // namespace

void Problems::Add(std::string problem) {
  if (list_.size() < kMaxProblems) list_.push_back(std::move(problem));
}

void CheckCipher(const std::string& what, std::string_view cipher, uint64_t key_bytes,
                 Problems& problems) {
  const std::span<const uint32_t> sizes = KeySizes(cipher);
  if (sizes.empty()) {
    problems.Add(fmt::format("{}: its cipher is {}, which is not one that is opened here", what,
                             Quoted(cipher)));
  } else if (std::ranges::find(sizes, key_bytes) == sizes.end()) {
    problems.Add(fmt::format("{}: {} with a key of {} bytes (it takes {})", what, cipher, key_bytes,
                             fmt::join(sizes, " or ")));
  }
}

void CheckKeyBytes(const std::string& what, uint64_t key_bytes, Problems& problems) {
  if (key_bytes < kMinKeyBytes || key_bytes > kMaxKeyBytes) {
    problems.Add(fmt::format("{}: a key of {} bytes ({} to {} are allowed)", what, key_bytes,
                             kMinKeyBytes, kMaxKeyBytes));
  }
}

void CheckHash(const std::string& what, std::string_view hash, Problems& problems) {
  if (IsKnownHash(hash)) return;
  problems.Add(fmt::format("{}: its hash is {}, which is unknown here", what, Quoted(hash)));
}

void CheckPbkdf2(const std::string& what, uint64_t iterations, uint64_t minimum,
                 const HeaderLimits& limits, Problems& problems) {
  if (iterations >= minimum && iterations <= limits.max_pbkdf2_iterations) return;
  problems.Add(fmt::format("{}: {} iterations of PBKDF2 ({} to {} are allowed)", what, iterations,
                           minimum, limits.max_pbkdf2_iterations));
}

void CheckArgon2(const std::string& what, const Keyslot& slot, const HeaderLimits& limits,
                 Problems& problems) {
  const uint64_t memory = slot.kdf_memory_kib;
  if (memory == 0 || memory > limits.max_argon_memory_kib) {
    problems.Add(fmt::format("{}: Argon2 with {} KiB of memory (1 to {} are allowed)", what, memory,
                             limits.max_argon_memory_kib));
  } else if (slot.kdf_iterations == 0 || slot.kdf_iterations > limits.max_argon_work_kib / memory) {
    problems.Add(fmt::format("{}: {} passes of Argon2 over {} KiB of memory (1 to {} are allowed)",
                             what, slot.kdf_iterations, memory,
                             limits.max_argon_work_kib / memory));
  }
  if (slot.kdf_lanes == 0 || slot.kdf_lanes > kMaxArgonLanes) {
    problems.Add(fmt::format("{}: Argon2 with {} lanes (1 to {} are allowed)", what, slot.kdf_lanes,
                             kMaxArgonLanes));
  }
}

void CheckAreas(const std::vector<Keyslot>& slots, uint64_t begin, uint64_t end,
                Problems& problems) {
  for (const Keyslot& slot : slots) CheckArea(slot, begin, end, problems);
  CheckOverlap(slots, problems);
}

void CheckDataRange(const Header& header, uint64_t metadata_end, uint64_t device_bytes,
                    Problems& problems) {
  const uint64_t needed = header.data_bytes.value_or(header.sector_bytes);
  if (header.data_offset < metadata_end || header.data_offset % kSectorBytes != 0) {
    problems.Add(
        fmt::format("the data begins at {}: not at a sector's start behind the keyslots, which end "
                    "at {}",
                    header.data_offset, metadata_end));
  } else if (header.data_offset > device_bytes || needed > device_bytes - header.data_offset) {
    problems.Add(
        fmt::format("the data ({} at {}) does not fit the device, which has {} bytes: it was cut "
                    "short, or the header belongs to another device",
                    header.data_bytes ? fmt::format("{} bytes", needed) : "all", header.data_offset,
                    device_bytes));
  }
}

void CheckUuid(std::string_view uuid, Problems& problems) {
  if (!IsUuid(uuid)) problems.Add(fmt::format("its UUID is {}, which is none", Quoted(uuid)));
}

}  // namespace cryptvol::luks
