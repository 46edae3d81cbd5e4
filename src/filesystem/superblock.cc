#include "filesystem/superblock.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "fmt/format.h"

namespace cryptvol::filesystem {
namespace {

enum class Order { kLittle, kBig };

template <typename T>
T Read(std::span<const uint8_t> bytes, size_t offset, Order order) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    const size_t shift = 8 * (order == Order::kLittle ? i : sizeof(T) - 1 - i);
    value = static_cast<T>(value | static_cast<T>(T{bytes[offset + i]} << shift));
  }
  return value;
}

template <typename T>
T Little(std::span<const uint8_t> bytes, size_t offset) {
  return Read<T>(bytes, offset, Order::kLittle);
}

template <typename T>
T Big(std::span<const uint8_t> bytes, size_t offset) {
  return Read<T>(bytes, offset, Order::kBig);
}

bool AllZero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// Offsets in ext4's superblock, from "The Super Block" in the kernel's ext4 documentation.
constexpr size_t kExt4Superblock = 1024;
constexpr size_t kMountTime = 0x2C;
constexpr size_t kMountCount = 0x34;
constexpr size_t kMaxMountCount = 0x36;
constexpr size_t kState = 0x3A;
constexpr size_t kLastCheck = 0x40;
constexpr size_t kCheckInterval = 0x44;
constexpr size_t kIncompatFeatures = 0x60;
constexpr size_t kLastOrphan = 0xE8;
constexpr size_t kMountTimeHigh = 0x275;
constexpr size_t kLastCheckHigh = 0x277;
constexpr uint16_t kStateValid = 1;
constexpr uint16_t kStateError = 2;
constexpr uint32_t kIncompatRecover = 4;

int64_t Ext4Time(std::span<const uint8_t> superblock, size_t low, size_t high) {
  return static_cast<int64_t>(uint64_t{superblock[high]} << 32 | Little<uint32_t>(superblock, low));
}

bool PeriodicCheckDue(std::span<const uint8_t> superblock, int64_t now) {
  const auto max_mounts = static_cast<int16_t>(Little<uint16_t>(superblock, kMaxMountCount));
  if (max_mounts > 0 && Little<uint16_t>(superblock, kMountCount) >= max_mounts) return true;
  const int64_t interval = Little<uint32_t>(superblock, kCheckInterval);
  const int64_t last = Ext4Time(superblock, kLastCheck, kLastCheckHigh);
  return interval != 0 && (now < last || now - last >= interval);
}

// Offsets in XFS's superblock and in the header of a log record, from "XFS Algorithms & Data
// Structures".
constexpr size_t kXfsBlockSize = 4;
constexpr size_t kXfsLogStart = 48;
constexpr size_t kXfsAgBlocks = 84;
constexpr size_t kXfsVersion = 100;
constexpr size_t kXfsAgBlocksLog = 124;
constexpr size_t kXfsInProgress = 126;
constexpr size_t kXfsInodes = 128;
constexpr size_t kXfsFreeInodes = 136;
constexpr size_t kXfsLastWrite = 240;
constexpr uint16_t kXfsVersionMask = 0xF;
constexpr uint16_t kXfsVersion5 = 5;
constexpr uint64_t kXfsMkfsInodes = 3;  // root directory, realtime bitmap and summary

constexpr size_t kRecordLength = 12;
constexpr size_t kRecordOperations = 40;
constexpr uint32_t kRecordMagic = 0xFEEDBABE;
constexpr uint64_t kLogBlock = 512;

// Offsets in btrfs's superblock, from "On-disk Format" in the btrfs documentation.
constexpr size_t kBtrfsSuperblock = 64 * 1024;
constexpr size_t kBtrfsUuid = 0x20;
constexpr size_t kBtrfsOwnOffset = 0x30;
constexpr size_t kBtrfsMagic = 0x40;
constexpr size_t kBtrfsLogRoot = 0x60;
constexpr size_t kBtrfsNodeSize = 0x94;
constexpr size_t kBtrfsIncompatFeatures = 0xBC;
constexpr size_t kBtrfsUuidTreeGeneration = 0x233;
constexpr uint64_t kBtrfsBigMetadata = 1 << 5;
constexpr std::string_view kBtrfsUnfinishedMagic = "!BHRfS_M";

std::string FormatUuid(std::span<const uint8_t> bytes) {
  std::string text;
  for (size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", bytes[i]);
  }
  return text;
}

}  // namespace

bool Ext4NeedsCheck(Start start, int64_t now) {
  const auto superblock = start.subspan(kExt4Superblock);
  const auto state = Little<uint16_t>(superblock, kState);
  if ((state & kStateError) != 0 || (state & kStateValid) == 0) return true;
  if ((Little<uint32_t>(superblock, kIncompatFeatures) & kIncompatRecover) != 0) return true;
  if (Little<uint32_t>(superblock, kLastOrphan) != 0) return true;
  return PeriodicCheckDue(superblock, now);
}

bool Ext4NeverMounted(Start start) {
  const auto superblock = start.subspan(kExt4Superblock);
  return Little<uint16_t>(superblock, kMountCount) == 0 &&
         Ext4Time(superblock, kMountTime, kMountTimeHigh) == 0;
}

bool XfsInProgress(Start start) { return start[kXfsInProgress] != 0; }

std::optional<uint64_t> XfsUnusedLogOffset(Start start) {
  const auto log_start = Big<uint64_t>(start, kXfsLogStart);
  // Before version 5 the superblock does not say when it was last written.
  const bool version5 = (Big<uint16_t>(start, kXfsVersion) & kXfsVersionMask) == kXfsVersion5;
  const bool written = Big<uint64_t>(start, kXfsLastWrite) != 0;
  const uint64_t inodes = Big<uint64_t>(start, kXfsInodes) - Big<uint64_t>(start, kXfsFreeInodes);
  if (!version5 || written || inodes != kXfsMkfsInodes || log_start == 0) return std::nullopt;
  // A block number holds its allocation group above, and the block within it below, this many bits.
  const uint8_t group_bits = start[kXfsAgBlocksLog];
  if (group_bits >= 32) return std::nullopt;
  const uint64_t group = log_start >> group_bits;
  const uint64_t block = log_start & ((uint64_t{1} << group_bits) - 1);
  return (group * Big<uint32_t>(start, kXfsAgBlocks) + block) * Big<uint32_t>(start, kXfsBlockSize);
}

bool XfsLogUnused(std::span<const uint8_t, kXfsLogReadBytes> log) {
  if (AllZero(log)) return true;
  // The unmount record of mkfs is a single operation; the kernel's first record has several.
  if (Big<uint32_t>(log, 0) != kRecordMagic || Big<uint32_t>(log, kRecordOperations) != 1)
    return false;
  const uint64_t end = kLogBlock + Big<uint32_t>(log, kRecordLength);
  return end < kXfsLogReadBytes && AllZero(log.subspan(end));
}

std::optional<std::string> BtrfsUnfinishedUuid(Start start) {
  const auto superblock = start.subspan(kBtrfsSuperblock);
  const auto magic = superblock.subspan(kBtrfsMagic, kBtrfsUnfinishedMagic.size());
  if (std::memcmp(magic.data(), kBtrfsUnfinishedMagic.data(), magic.size()) != 0 ||
      Little<uint64_t>(superblock, kBtrfsOwnOffset) != kBtrfsSuperblock) {
    return std::nullopt;
  }
  return FormatUuid(superblock.subspan(kBtrfsUuid, 16));
}

bool BtrfsNeverMounted(Start start, uint64_t page_bytes) {
  const auto superblock = start.subspan(kBtrfsSuperblock);
  return Little<uint64_t>(superblock, kBtrfsLogRoot) == 0 &&
         Little<uint64_t>(superblock, kBtrfsUuidTreeGeneration) == 0 &&
         Little<uint32_t>(superblock, kBtrfsNodeSize) > page_bytes &&
         (Little<uint64_t>(superblock, kBtrfsIncompatFeatures) & kBtrfsBigMetadata) == 0;
}

}  // namespace cryptvol::filesystem
