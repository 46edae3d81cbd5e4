// The record of an unfinished format.
#include "luks/intent_block.h"

#include <openssl/sha.h>

#include <algorithm>

#include "gtest/gtest.h"
#include "tests/luks/header_matchers.h"

namespace cryptvol::luks {
namespace {

using testing::Fails;
using testing::IsOk;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

Intent Example() {
  return {.volume_id = "pvc-1",
          .luks_uuid = "0f4e6c1a-53b2-4b0f-9d26-6a1d5b8c7e90",
          .device_bytes = 0x0102030405060708};
}

IntentBlock Encode(const Intent& intent) {
  const absl::StatusOr<IntentBlock> block = EncodeIntent(intent);
  EXPECT_THAT(block, IsOk());
  return block.value_or(IntentBlock{});
}

// With this a changed block has a right digest again.
void Seal(IntentBlock& block) { SHA256(block.data(), 324, block.data() + 324); }

// The bytes are the format that docs/on-disk-format.md promises.
TEST(IntentBlock, HasTheDocumentedForm) {
  const IntentBlock block = Encode(Example());
  const auto text = [&block](size_t from, size_t size) {
    return std::string(block.begin() + from, block.begin() + from + size);
  };
  EXPECT_EQ(text(0, 16), "cryptvol-intent\n");
  EXPECT_EQ(text(16, 16), std::string("\0\0\0\1\0\0\0\5\1\2\3\4\5\6\7\10", 16));
  EXPECT_EQ(text(32, 36), Example().luks_uuid);
  EXPECT_EQ(text(68, 6), std::string("pvc-1\0", 6));
  IntentBlock sealed = block;
  Seal(sealed);
  EXPECT_EQ(block, sealed);
  EXPECT_TRUE(std::all_of(block.begin() + 356, block.end(), [](uint8_t b) { return b == 0; }));
}

// What is written is read again, for the shortest and the longest volume id.
TEST(IntentBlock, RoundTrip) {
  for (const size_t size : {1u, 256u}) {
    Intent intent = Example();
    intent.volume_id = std::string(size, 'v');
    const Intent read = DecodeIntent(Encode(intent)).value_or(Intent{});
    EXPECT_EQ(read.volume_id, intent.volume_id);
    EXPECT_EQ(read.luks_uuid, intent.luks_uuid);
    EXPECT_EQ(read.device_bytes, intent.device_bytes);
  }
}

// What could not be read again is not written.
TEST(IntentBlock, RefusesWrongLengths) {
  Intent intent = Example();
  intent.volume_id = "";
  EXPECT_THAT(EncodeIntent(intent), Fails(kInvalid, "a volume id of 0 bytes"));
  intent.volume_id = std::string(257, 'v');
  EXPECT_THAT(EncodeIntent(intent), Fails(kInvalid, "a volume id of 257 bytes"));
  intent = Example();
  intent.luks_uuid.pop_back();
  EXPECT_THAT(EncodeIntent(intent), Fails(kInvalid, "a UUID of 35 characters"));
}

// A flipped bit in any byte, the zeros included, makes it no intent.
TEST(IntentBlock, EveryByteCounts) {
  const IntentBlock good = Encode(Example());
  ASSERT_TRUE(DecodeIntent(good).has_value());
  for (size_t i = 0; i < good.size(); ++i) {
    IntentBlock block = good;
    block[i] ^= 0x10;
    EXPECT_FALSE(DecodeIntent(block).has_value()) << i;
  }
}

// A right digest does not make a wrong block right: other versions, lengths, and text behind the
// id.
TEST(IntentBlock, EveryFieldIsChecked) {
  for (const auto& [offset, value] : std::vector<std::pair<size_t, uint8_t>>{
           {0, 'C'}, {19, 2}, {23, 0}, {23, 4}, {22, 2}, {20, 0xff}, {80, 'x'}}) {
    IntentBlock block = Encode(Example());
    block[offset] = value;
    Seal(block);
    EXPECT_FALSE(DecodeIntent(block).has_value()) << offset;
  }
}

// Zeros, and bytes of another size, are no intent.
TEST(IntentBlock, OtherBytesAreNone) {
  EXPECT_FALSE(DecodeIntent(IntentBlock{}).has_value());
  const IntentBlock block = Encode(Example());
  EXPECT_FALSE(DecodeIntent(std::span(block).first(4095)).has_value());
  EXPECT_FALSE(DecodeIntent({}).has_value());
}

}  // namespace
}  // namespace cryptvol::luks
