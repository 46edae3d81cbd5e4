// Whatever the bytes of a device, parsing its header ends, stays inside them, and accepts nothing
// that is outside the allow-list.
//
// The first byte of the input chooses what the rest is, since no fuzzer guesses a SHA-256:
//   'j'  JSON, put into two consistent copies
//   'd'  two JSON texts, divided by a NUL: the primary copy, and an older secondary one
//   's'  the device's first bytes, whose checksums are made right
//   else the device's first bytes
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "luks/algorithms.h"
#include "luks/foreign_text.h"
#include "luks/header.h"
#include "luks/intent_block.h"
#include "luks/recovery_token.h"
#include "luks/token.h"
#include "tests/luks/header_builder.h"

namespace cryptvol::luks {
namespace {

constexpr uint64_t kDeviceBytes = testing::kDeviceBytes;

// Not assert(): the fuzz preset is a release build.
void Require(bool holds) {
  if (!holds) std::abort();
}

// Makes the checksum right of whatever copy claims to begin at `offset`.
void SealCopy(std::vector<uint8_t>& image, size_t offset, uint64_t size) {
  if (offset > image.size() || size < testing::kBinaryBytes || size > image.size() - offset) return;
  testing::Seal(std::span(image).subspan(offset, size));
}

std::vector<uint8_t> Sealed(std::vector<uint8_t> image) {
  // Small inputs stand for large devices.
  image.resize(std::max<size_t>(image.size(), 64 * 1024));
  uint64_t size = 0;
  for (size_t i = 8; i < 16; ++i) size = size << 8 | image[i];
  SealCopy(image, 0, size);
  for (const uint64_t offset : {0x4000, 0x8000}) SealCopy(image, offset, offset);
  return image;
}

std::vector<uint8_t> TwoCopies(const std::string& texts) {
  const size_t nul = texts.find('\0');
  const std::string older = nul == std::string::npos ? "" : texts.substr(nul + 1);
  testing::CopyFields newer;
  newer.sequence = testing::CopyFields().sequence + 1;
  return testing::Concatenate(testing::BuildCopy(texts.substr(0, nul), false, newer),
                              testing::BuildCopy(older, true));
}

std::vector<uint8_t> Image(std::span<const uint8_t> input) {
  if (input.empty()) return {};
  const std::string text(input.begin() + 1, input.end());
  if (input[0] == 'j') return testing::BuildHeader(text);
  if (input[0] == 'd') return TwoCopies(text);
  const std::vector<uint8_t> bytes(input.begin() + 1, input.end());
  return input[0] == 's' ? Sealed(bytes) : bytes;
}

void CheckKeyslots(const Header& header) {
  const HeaderLimits limits;
  uint64_t end = header.version == 1 ? 1024 : 2 * header.metadata_bytes;
  std::vector<Keyslot> slots = header.keyslots;
  std::ranges::sort(slots, {}, &Keyslot::area_offset);
  for (const Keyslot& slot : slots) {
    Require(slot.id >= 0 && slot.id < 32);
    Require(!KeySizes(slot.encryption).empty());
    Require(slot.area_offset >= end && slot.area_bytes <= 1 << 20);
    Require(slot.area_bytes >= slot.key_bytes * 4000);
    end = slot.area_offset + slot.area_bytes;
    const bool argon = slot.kdf == "argon2i" || slot.kdf == "argon2id";
    Require(argon || slot.kdf == "pbkdf2");
    if (argon) {
      Require(slot.kdf_memory_kib * slot.kdf_iterations <= limits.max_argon_work_kib);
    } else {
      Require(slot.kdf_iterations <= limits.max_pbkdf2_iterations && slot.kdf_memory_kib == 0);
    }
    const auto sizes = KeySizes(header.cipher);
    Require(std::ranges::find(sizes, slot.key_bytes) != sizes.end());
  }
  Require(end <= header.data_offset);
  Require(KdfMemoryBytes(header) <= limits.max_argon_memory_kib * 1024);
}

void CheckAccepted(const Header& header) {
  Require(header.problems.empty());
  Require(header.version == 1 || header.version == 2);
  Require(IsUuid(header.uuid));
  Require(Printable(header.label) == header.label);
  Require(header.primary == CopyState::kGood || header.secondary == CopyState::kGood);
  Require(!KeySizes(header.cipher).empty());
  Require(header.cipher.find("null") == std::string::npos);
  Require(header.data_offset < kDeviceBytes);
  Require(header.data_bytes.value_or(1) <= kDeviceBytes - header.data_offset);
  Require(header.tokens.size() <= 32);
  CheckKeyslots(header);
}

void CheckTokens(const Header& header) {
  for (const RecoveryToken& token : FindRecoveryTokens(header)) {
    Require(std::ranges::find(header.keyslots, token.keyslot, &Keyslot::id) !=
            header.keyslots.end());
    Require(token.age_file.size() <= 8192);
  }
  const absl::StatusOr<std::optional<FoundToken>> found = FindToken(header);
  if (!found.ok() || !found->has_value()) return;
  const absl::StatusOr<VolumeToken> again = ParseToken(SerializeToken((*found)->token));
  Require(again.ok() && again->volume_id == (*found)->token.volume_id);
}

void CheckIntent(std::span<const uint8_t> input) {
  IntentBlock block = {};
  std::ranges::copy(input.first(std::min(input.size(), block.size())), block.begin());
  if (const std::optional<Intent> intent = DecodeIntent(block)) {
    Require(EncodeIntent(*intent).value() == block);
  }
}

void FuzzOne(std::span<const uint8_t> input) {
  CheckIntent(input);
  const std::vector<uint8_t> image = Image(input);
  const absl::StatusOr<Header> header = ParseHeader(image, kDeviceBytes);
  Require(LooksLikeLuks(image) == (header.status().code() != absl::StatusCode::kNotFound));
  if (!header.ok()) {
    Require(!header.status().message().empty() && header.status().message().size() < 8192);
    return;
  }
  CheckAccepted(*header);
  CheckTokens(*header);
}

}  // namespace
}  // namespace cryptvol::luks

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cryptvol::luks::FuzzOne({data, size});
  return 0;
}
