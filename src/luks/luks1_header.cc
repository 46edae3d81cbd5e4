#include "luks/luks1_header.h"

#include <string>
#include <vector>

#include "base/status.h"
#include "luks/header_checks.h"
#include "luks/luks2_copies.h"

namespace cryptvol::luks {
namespace {

// Offsets and sizes of the fields.
constexpr size_t kVersion = 6;
constexpr size_t kCipherName = 8;
constexpr size_t kCipherMode = 40;
constexpr size_t kHash = 72;
constexpr size_t kNameBytes = 32;
constexpr size_t kPayloadOffset = 104;
constexpr size_t kKeyBytes = 108;
constexpr size_t kDigestIterations = 164;
constexpr size_t kUuid = 168;
constexpr size_t kUuidBytes = 40;
constexpr size_t kKeyslots = 208;
constexpr size_t kKeyslotBytes = 48;
constexpr int kKeyslotCount = 8;
constexpr size_t kUsedBytes = kKeyslots + kKeyslotCount * kKeyslotBytes;

// Within a keyslot.
constexpr size_t kActive = 0;
constexpr size_t kIterations = 4;
constexpr size_t kMaterialOffset = 40;
constexpr size_t kStripeCount = 44;

constexpr uint32_t kEnabled = 0x00AC71F3;
constexpr uint32_t kDisabled = 0x0000DEAD;

constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kHeaderSectors = 2;

// The area of a keyslot that is not in use counts too: the next key goes there.
Keyslot ReadKeyslot(int id, Bytes bytes, const Header& header, uint64_t key_bytes) {
  Keyslot slot;
  slot.id = id;
  slot.kdf = "pbkdf2";
  slot.kdf_iterations = BigEndian<uint32_t>(bytes, kIterations);
  slot.encryption = header.cipher;
  slot.key_bytes = key_bytes;
  slot.area_offset = uint64_t{BigEndian<uint32_t>(bytes, kMaterialOffset)} * kSectorBytes;
  slot.area_bytes = (key_bytes * kStripes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  return slot;
}

void ReadKeyslots(Bytes start, uint64_t key_bytes, const HeaderLimits& limits, Header& header,
                  Problems& problems) {
  std::vector<Keyslot> all;
  for (int id = 0; id < kKeyslotCount; ++id) {
    const std::string what = fmt::format("keyslot {}", id);
    const Bytes bytes =
        start.subspan(kKeyslots + static_cast<size_t>(id) * kKeyslotBytes, kKeyslotBytes);
    all.push_back(ReadKeyslot(id, bytes, header, key_bytes));
    const auto active = BigEndian<uint32_t>(bytes, kActive);
    if (active != kEnabled && active != kDisabled) {
      problems.Add(fmt::format("{}: neither enabled nor disabled ({:#x})", what, active));
    }
    if (const auto stripes = BigEndian<uint32_t>(bytes, kStripeCount); stripes != kStripes) {
      problems.Add(fmt::format("{}: {} stripes, not {}", what, stripes, kStripes));
    }
    if (active != kEnabled) continue;
    CheckPbkdf2(what, all.back().kdf_iterations, kMinKeyslotIterations, limits, problems);
    header.keyslots.push_back(all.back());
  }
  CheckAreas(all, kHeaderSectors * kSectorBytes, header.data_offset, problems);
}

}  // namespace

bool IsLuks1(Bytes start) {
  return start.size() >= kVersion + sizeof(uint16_t) && HasPrimaryMagic(start) &&
         BigEndian<uint16_t>(start, kVersion) == 1;
}

absl::StatusOr<Header> ParseLuks1Header(Bytes start, uint64_t device_bytes,
                                        const HeaderLimits& limits) {
  if (start.size() < kUsedBytes) {
    return MakeStatus(absl::StatusCode::kDataLoss,
                      "read the LUKS1 header: the device ends after {} bytes, within the header",
                      start.size());
  }
  Header header;
  Problems problems(header.problems);
  const auto key_bytes = BigEndian<uint32_t>(start, kKeyBytes);
  header.version = 1;
  header.uuid = FixedString(start, kUuid, kUuidBytes);
  header.primary = CopyState::kGood;
  header.metadata_bytes = kHeaderSectors * kSectorBytes;
  header.cipher = FixedString(start, kCipherName, kNameBytes) + '-' +
                  FixedString(start, kCipherMode, kNameBytes);
  header.data_offset = uint64_t{BigEndian<uint32_t>(start, kPayloadOffset)} * kSectorBytes;
  CheckUuid(header.uuid, problems);
  CheckCipher("the data", header.cipher, key_bytes, problems);
  CheckHash("the header", FixedString(start, kHash, kNameBytes), problems);
  CheckPbkdf2("the digest", BigEndian<uint32_t>(start, kDigestIterations), kMinDigestIterations,
              limits, problems);
  CheckDataRange(header, header.metadata_bytes, device_bytes, problems);
  ReadKeyslots(start, key_bytes, limits, header, problems);
  return header;
}

}  // namespace cryptvol::luks
