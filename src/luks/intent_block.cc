#include "luks/intent_block.h"

#include <openssl/sha.h>

#include <algorithm>
#include <string_view>

#include "base/status.h"
#include "luks/bytes.h"

namespace cryptvol::luks {
namespace {

// The block, with numbers in big-endian order as in LUKS itself:
//     0  16  magic
//    16   4  version
//    20   4  length of the volume id
//    24   8  size of the device in bytes
//    32  36  LUKS UUID
//    68 256  volume id, then zeros
//   324  32  SHA-256 of bytes 0 to 323
//   356      zeros to the end
constexpr std::string_view kMagic = "cryptvol-intent\n";
constexpr uint32_t kVersion = 1;
constexpr size_t kVersionOffset = 16;
constexpr size_t kIdLengthOffset = 20;
constexpr size_t kDeviceBytesOffset = 24;
constexpr size_t kUuidOffset = 32;
constexpr size_t kUuidBytes = 36;
constexpr size_t kIdOffset = 68;
constexpr size_t kMaxIdBytes = 256;
constexpr size_t kDigestOffset = 324;
static_assert(kMagic.size() == kVersionOffset);
static_assert(kIdOffset + kMaxIdBytes == kDigestOffset);
static_assert(kDigestOffset + SHA256_DIGEST_LENGTH <= kIntentBytes);

template <typename T>
void PutBigEndian(T value, IntentBlock& block, size_t offset) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    block[offset + i] = static_cast<uint8_t>(value >> (8 * (sizeof(T) - 1 - i)));
  }
}

void PutText(std::string_view text, IntentBlock& block, size_t offset) {
  std::ranges::copy(text, block.begin() + static_cast<std::ptrdiff_t>(offset));
}

std::string TextAt(Bytes block, size_t offset, size_t size) {
  const Bytes field = block.subspan(offset, size);
  return std::string(field.begin(), field.end());
}

}  // namespace

absl::StatusOr<IntentBlock> EncodeIntent(const Intent& intent) {
  if (intent.volume_id.empty() || intent.volume_id.size() > kMaxIdBytes) {
    return InvalidArgument("record a format's begin: a volume id of {} bytes (1 to {} are allowed)",
                           intent.volume_id.size(), kMaxIdBytes);
  }
  if (intent.luks_uuid.size() != kUuidBytes) {
    return InvalidArgument("record a format's begin: a UUID of {} characters, not {}",
                           intent.luks_uuid.size(), kUuidBytes);
  }
  IntentBlock block = {};
  PutText(kMagic, block, 0);
  PutBigEndian(kVersion, block, kVersionOffset);
  PutBigEndian(static_cast<uint32_t>(intent.volume_id.size()), block, kIdLengthOffset);
  PutBigEndian(intent.device_bytes, block, kDeviceBytesOffset);
  PutText(intent.luks_uuid, block, kUuidOffset);
  PutText(intent.volume_id, block, kIdOffset);
  SHA256(block.data(), kDigestOffset, block.data() + kDigestOffset);
  return block;
}

std::optional<Intent> DecodeIntent(std::span<const uint8_t> block) {
  if (block.size() != kIntentBytes) return std::nullopt;
  const auto id_length = BigEndian<uint32_t>(block, kIdLengthOffset);
  if (id_length > kMaxIdBytes) return std::nullopt;
  Intent intent;
  intent.volume_id = TextAt(block, kIdOffset, id_length);
  intent.luks_uuid = TextAt(block, kUuidOffset, kUuidBytes);
  intent.device_bytes = BigEndian<uint64_t>(block, kDeviceBytesOffset);
  const absl::StatusOr<IntentBlock> expected = EncodeIntent(intent);
  if (!expected.ok() || !std::ranges::equal(block, *expected)) return std::nullopt;
  return intent;
}

}  // namespace cryptvol::luks
