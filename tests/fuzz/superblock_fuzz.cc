// Whatever the bytes of a device, reading its superblocks ends and stays inside them; what they claim
// is held against the bytes themselves.
//
// The first byte of the input chooses where the rest lies, among zeros:
//   'e'  ext4's superblock
//   'b'  btrfs's superblock
//   'l'  the start of an XFS log
//   else the start of the device, where XFS's superblock lies
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "filesystem/superblock.h"

namespace cryptvol::filesystem {
namespace {

constexpr size_t kExt4 = 1024;
constexpr size_t kBtrfs = 64 * 1024;

// Not assert(): the fuzz preset is a release build.
void Require(bool holds) {
  if (!holds) std::abort();
}

std::vector<uint8_t> Placed(std::span<const uint8_t> bytes, size_t offset, size_t total) {
  std::vector<uint8_t> all(total);
  std::ranges::copy(bytes.first(std::min(bytes.size(), total - offset)),
                    all.begin() + static_cast<std::ptrdiff_t>(offset));
  return all;
}

bool AnySet(std::span<const uint8_t> bytes) {
  return std::ranges::any_of(bytes, [](uint8_t byte) { return byte != 0; });
}

void FuzzExt4(Start start) {
  const auto superblock = start.subspan(kExt4);
  const bool check = Ext4NeedsCheck(start, 1'700'000'000);
  (void)Ext4NeedsCheck(start, 0);
  (void)Ext4NeedsCheck(start, std::numeric_limits<int64_t>::max());
  const bool clean = (superblock[0x3A] & 3) == 1;  // "valid", and not "error"
  Require(clean || check);
  // Seconds of the last mount, and how many there were.
  const bool mounted = AnySet(superblock.subspan(0x2C, 4)) || AnySet(superblock.subspan(0x34, 2));
  Require(!mounted || !Ext4NeverMounted(start));
}

void FuzzXfs(Start start) {
  (void)XfsInProgress(start);
  const auto offset = XfsUnusedLogOffset(start);
  // A log on the device, in a filesystem that was never written to.
  if (offset.has_value()) Require(AnySet(start.subspan(48, 8)) && !AnySet(start.subspan(240, 8)));
}

void FuzzBtrfs(Start start) {
  for (const uint64_t page : {uint64_t{4096}, uint64_t{65536}})
    (void)BtrfsNeverMounted(start, page);
  const auto uuid = BtrfsUnfinishedUuid(start);
  if (!uuid.has_value()) return;
  Require(uuid->size() == 36 && (*uuid)[8] == '-' && (*uuid)[23] == '-');
  Require(uuid->find_first_not_of("0123456789abcdef-") == std::string::npos);
}

void FuzzLog(std::span<const uint8_t> input) {
  const std::vector<uint8_t> bytes = Placed(input, 0, kXfsLogReadBytes);
  const std::span<const uint8_t, kXfsLogReadBytes> log(bytes.data(), kXfsLogReadBytes);
  // A record that fills all that was read leaves no room for "nothing follows it".
  if (XfsLogUnused(log)) Require(log.back() == 0);
}

void FuzzOne(std::span<const uint8_t> input) {
  const uint8_t kind = input.empty() ? 0 : input[0];
  const auto rest = input.subspan(std::min<size_t>(input.size(), 1));
  if (kind == 'l') return FuzzLog(rest);
  const size_t offset = kind == 'e' ? kExt4 : kind == 'b' ? kBtrfs : 0;
  const std::vector<uint8_t> bytes = Placed(rest, offset, kSuperblockReadBytes);
  const Start start(bytes.data(), kSuperblockReadBytes);
  FuzzExt4(start);
  FuzzXfs(start);
  FuzzBtrfs(start);
}

}  // namespace
}  // namespace cryptvol::filesystem

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cryptvol::filesystem::FuzzOne({data, size});
  return 0;
}
