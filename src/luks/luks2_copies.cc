#include "luks/luks2_copies.h"

#include <openssl/evp.h>

#include <algorithm>
#include <optional>

#include "base/c_handle.h"

namespace cryptvol::luks {
namespace {

using Magic = std::array<uint8_t, 6>;
constexpr Magic kPrimaryMagic = {'L', 'U', 'K', 'S', 0xba, 0xbe};
constexpr Magic kSecondaryMagic = {'S', 'K', 'U', 'L', 0xba, 0xbe};

// The binary header: offsets and sizes of its fields.
constexpr size_t kVersion = 6;
constexpr size_t kSize = 8;
constexpr size_t kSequence = 16;
constexpr size_t kLabel = 24;
constexpr size_t kLabelBytes = 48;
constexpr size_t kChecksumKind = 72;
constexpr size_t kChecksumKindBytes = 32;
constexpr size_t kSalt = 104;
constexpr size_t kUuid = 168;
constexpr size_t kUuidBytes = 40;
constexpr size_t kOffset = 256;
constexpr size_t kChecksum = 448;
constexpr size_t kChecksumBytes = 64;

bool HasMagicAt(Bytes start, uint64_t offset, const Magic& magic) {
  return offset < start.size() && StartsWith(start.subspan(offset), magic);
}

// The name of a hash, as opposed to what damage leaves.
bool LooksLikeName(const std::string& text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  };
  return !text.empty() && std::ranges::all_of(text, fits);
}

const EVP_MD* ChecksumKind(const std::string& name) {
  if (name == "sha256") return EVP_sha256();
  if (name == "sha512") return EVP_sha512();
  return nullptr;
}

// Over the binary header with zeros in place of the checksum, and the JSON area.
bool HasRightChecksum(Bytes copy, const EVP_MD* kind) {
  constexpr std::array<uint8_t, kChecksumBytes> kZeros = {};
  Handle<EVP_MD_CTX, EVP_MD_CTX_free> hash(EVP_MD_CTX_new());
  std::array<uint8_t, EVP_MAX_MD_SIZE> sum = {};
  unsigned int size = 0;
  const Bytes rest = copy.subspan(kChecksum + kChecksumBytes);
  const bool computed = EVP_DigestInit_ex(hash.get(), kind, nullptr) == 1 &&
                        EVP_DigestUpdate(hash.get(), copy.data(), kChecksum) == 1 &&
                        EVP_DigestUpdate(hash.get(), kZeros.data(), kZeros.size()) == 1 &&
                        EVP_DigestUpdate(hash.get(), rest.data(), rest.size()) == 1 &&
                        EVP_DigestFinal_ex(hash.get(), sum.data(), &size) == 1;
  return computed && StartsWith(copy.subspan(kChecksum), Bytes(sum).first(size));
}

// The bytes of the copy that begins at `offset`, when its own fields say that it belongs there.
std::optional<Bytes> WholeCopy(Bytes start, uint64_t offset) {
  const Bytes rest = start.subspan(offset);
  if (rest.size() < kBinaryHeaderBytes || BigEndian<uint16_t>(rest, kVersion) != 2)
    return std::nullopt;
  const uint64_t size = BigEndian<uint64_t>(rest, kSize);
  const bool placed =
      BigEndian<uint64_t>(rest, kOffset) == offset && (offset == 0 || offset == size);
  if (!placed || std::ranges::find(kMetadataSizes, size) == kMetadataSizes.end())
    return std::nullopt;
  if (rest.size() < size) return std::nullopt;
  return rest.first(size);
}

void ReadFields(Bytes copy, MetadataCopy& out) {
  out.state = CopyState::kGood;
  out.bytes = copy.size();
  out.sequence = BigEndian<uint64_t>(copy, kSequence);
  out.label = FixedString(copy, kLabel, kLabelBytes);
  out.uuid = FixedString(copy, kUuid, kUuidBytes);
  out.binary = copy.first(kBinaryHeaderBytes);
  const Bytes json = copy.subspan(kBinaryHeaderBytes);
  out.json = {reinterpret_cast<const char*>(json.data()), json.size()};
}

MetadataCopy ReadCopy(Bytes start, uint64_t offset, const Magic& magic) {
  MetadataCopy out;
  if (!HasMagicAt(start, offset, magic)) return out;
  out.state = CopyState::kDamaged;
  const std::optional<Bytes> copy = WholeCopy(start, offset);
  if (!copy.has_value()) return out;
  const std::string kind = FixedString(*copy, kChecksumKind, kChecksumKindBytes);
  const EVP_MD* known = ChecksumKind(kind);
  if (known == nullptr && LooksLikeName(kind)) out.foreign_checksum = kind;
  if (known != nullptr && HasRightChecksum(*copy, known)) ReadFields(*copy, out);
  return out;
}

MetadataCopy FindSecondary(Bytes start) {
  MetadataCopy found;
  std::string foreign_checksum;
  for (const uint64_t offset : kMetadataSizes) {
    MetadataCopy copy = ReadCopy(start, offset, kSecondaryMagic);
    if (!copy.foreign_checksum.empty()) foreign_checksum = copy.foreign_checksum;
    if (copy.state != CopyState::kAbsent) found = std::move(copy);
    if (found.state == CopyState::kGood) break;
  }
  // One that another reader may take before it comes to the good one.
  found.foreign_checksum = std::move(foreign_checksum);
  return found;
}

bool SameRange(Bytes a, Bytes b, size_t from, size_t to) {
  return std::ranges::equal(a.subspan(from, to - from), b.subspan(from, to - from));
}

}  // namespace

MetadataCopies FindMetadataCopies(Bytes start) {
  MetadataCopies copies;
  copies.primary = ReadCopy(start, 0, kPrimaryMagic);
  copies.secondary = copies.primary.state == CopyState::kGood
                         ? ReadCopy(start, copies.primary.bytes, kSecondaryMagic)
                         : FindSecondary(start);
  return copies;
}

bool HaveSameContent(const MetadataCopy& a, const MetadataCopy& b) {
  return SameRange(a.binary, b.binary, kVersion, kSalt) &&
         SameRange(a.binary, b.binary, kUuid, kOffset) && a.json == b.json;
}

bool HasPrimaryMagic(Bytes start) { return StartsWith(start, kPrimaryMagic); }

bool HasSecondaryMagic(Bytes start) {
  return std::ranges::any_of(kMetadataSizes, [start](uint64_t offset) {
    return HasMagicAt(start, offset, kSecondaryMagic);
  });
}

}  // namespace cryptvol::luks
