// Which of the two copies of LUKS2 metadata counts.
#include "gtest/gtest.h"
#include "luks/header.h"
#include "tests/luks/header_builder.h"
#include "tests/luks/header_matchers.h"

namespace cryptvol::luks {
namespace {

using testing::BuildCopy;
using testing::BuildHeader;
using testing::Concatenate;
using testing::CopyFields;
using testing::Fails;
using testing::GoodMetadata;
using testing::IsOk;
using testing::kDeviceBytes;
using Image = std::vector<uint8_t>;
using Json = nlohmann::json;

constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;
constexpr auto kLost = absl::StatusCode::kDataLoss;

absl::StatusOr<Header> Parse(const Image& image) { return ParseHeader(image, kDeviceBytes); }

Image Copies(const CopyFields& primary, const CopyFields& secondary) {
  const std::string json = GoodMetadata().dump();
  return Concatenate(BuildCopy(json, false, primary), BuildCopy(json, true, secondary));
}

Image GoodCopies() { return BuildHeader(GoodMetadata().dump()); }

// The size of one copy decides where the other lies: every size of the format is read.
TEST(Luks2Copies, AreFoundAtEverySize) {
  for (uint64_t size = 0x4000; size <= 0x400000; size *= 2) {
    Json metadata = GoodMetadata();
    metadata["config"] = {{"json_size", std::to_string(size - 4096)}, {"keyslots_size", "262144"}};
    metadata["keyslots"]["0"]["area"]["offset"] = std::to_string(2 * size);
    Image image = BuildHeader(metadata.dump(), {.metadata_bytes = size});
    absl::StatusOr<Header> header = Parse(image);
    ASSERT_THAT(header, IsOk()) << size;
    EXPECT_EQ(header->metadata_bytes, size);
    EXPECT_EQ(header->primary, CopyState::kGood);
    EXPECT_EQ(header->secondary, CopyState::kGood);
    image[0] = 0;
    header = Parse(image);
    ASSERT_THAT(header, IsOk()) << size;
    EXPECT_EQ(header->primary, CopyState::kAbsent);
    EXPECT_EQ(header->secondary, CopyState::kGood);
  }
}

// A flipped bit anywhere in a copy, padding included, is damage; the other copy is used.
TEST(Luks2Copies, OneIsEnough) {
  for (const size_t place : {20u, 120u, 300u, 448u, 4000u, 4100u, 16383u}) {
    Image image = GoodCopies();
    image[place] ^= 1;
    absl::StatusOr<Header> header = Parse(image);
    ASSERT_THAT(header, IsOk()) << place;
    EXPECT_EQ(header->primary, CopyState::kDamaged);
    EXPECT_EQ(header->secondary, CopyState::kGood);
    image = GoodCopies();
    image[0x4000 + place] ^= 1;
    header = Parse(image);
    ASSERT_THAT(header, IsOk()) << place;
    EXPECT_EQ(header->primary, CopyState::kGood);
    EXPECT_EQ(header->secondary, CopyState::kDamaged);
  }
}

// Two damaged copies are a loss, and the message says what not to do.
TEST(Luks2Copies, NoneIsDataLoss) {
  Image image = GoodCopies();
  image[5000] ^= 1;
  image[0x4000 + 5000] ^= 1;
  EXPECT_THAT(Parse(image), Fails(kLost, "write nothing to this device"));
}

// A device without a magic at any of the places has no header.
TEST(Luks2Copies, NoMagicIsNotFound) {
  Image image = GoodCopies();
  EXPECT_TRUE(LooksLikeLuks(image));
  image[0] = 0;
  EXPECT_TRUE(LooksLikeLuks(image));
  image[0x4000] = 0;
  EXPECT_FALSE(LooksLikeLuks(image));
  EXPECT_THAT(Parse(image), Fails(absl::StatusCode::kNotFound, "there is none"));
  EXPECT_THAT(Parse({}), Fails(absl::StatusCode::kNotFound, "there is none"));
}

// Bytes that end within the header are damage, wherever they end.
TEST(Luks2Copies, ACutHeaderIsDataLoss) {
  const Image whole = GoodCopies();
  for (const size_t size : {6u, 7u, 8u, 512u, 4095u, 4096u, 16383u}) {
    EXPECT_THAT(Parse(Image(whole.begin(), whole.begin() + size)), Fails(kLost, "is whole"))
        << size;
  }
  // From here the primary is there.
  EXPECT_THAT(Parse(Image(whole.begin(), whole.begin() + 16384)), IsOk());
}

// The copy with the higher sequence number is taken, the other is outdated.
TEST(Luks2Copies, TheNewerIsTaken) {
  absl::StatusOr<Header> header =
      Parse(Copies({.sequence = 4, .label = "new"}, {.sequence = 3, .label = "old"}));
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->label, "new");
  EXPECT_EQ(header->sequence, 4u);
  EXPECT_EQ(header->primary, CopyState::kGood);
  EXPECT_EQ(header->secondary, CopyState::kOutdated);
  header = Parse(Copies({.sequence = 3, .label = "old"}, {.sequence = 4, .label = "new"}));
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->label, "new");
  EXPECT_EQ(header->primary, CopyState::kOutdated);
  EXPECT_EQ(header->secondary, CopyState::kGood);
}

// Equal numbers with different content: nobody can say which is right.
TEST(Luks2Copies, EqualNumbersMustAgree) {
  EXPECT_THAT(Parse(Copies({.label = "one"}, {.label = "other"})),
              Fails(kRefused, "the same sequence number, but differ"));
  Json other = GoodMetadata();
  other["segments"]["0"]["offset"] = "33554432";
  EXPECT_THAT(
      Parse(Concatenate(BuildCopy(GoodMetadata().dump(), false), BuildCopy(other.dump(), true))),
      Fails(kRefused, "the same sequence number, but differ"));
}

// A secondary of another volume is no older state of this one.
TEST(Luks2Copies, CopiesMustBeOfOneVolume) {
  EXPECT_THAT(Parse(Copies({.sequence = 1},
                           {.sequence = 9, .uuid = "11111111-2222-3333-4444-555555555555"})),
              Fails(kRefused, "different UUIDs"));
}

// The older copy must be on the allow-list too: an opener may fall back to it.
TEST(Luks2Copies, BothAreChecked) {
  Json bad = GoodMetadata();
  bad["segments"]["0"]["encryption"] = "cipher_null-ecb";
  const Image image = Concatenate(BuildCopy(GoodMetadata().dump(), false, {.sequence = 4}),
                                  BuildCopy(bad.dump(), true, {.sequence = 3}));
  EXPECT_THAT(Parse(image), Fails(kRefused, "in its other copy: the data: its cipher is"));
}

// A right checksum over something that is no JSON is the work of somebody, not of a crash.
TEST(Luks2Copies, AnUnreadableCopyIsRefused) {
  const std::string good = GoodMetadata().dump();
  EXPECT_THAT(Parse(Concatenate(BuildCopy("{", false, {.sequence = 9}), BuildCopy(good, true))),
              Fails(kRefused, "the primary copy has a right checksum, but the text is not JSON"));
  EXPECT_THAT(Parse(Concatenate(BuildCopy(good, false), BuildCopy("", true))),
              Fails(kRefused, "the secondary copy has a right checksum, but the text is not JSON"));
}

// Two copies that are no JSON leave nothing to open.
TEST(Luks2Copies, TwoUnreadableCopiesAreDataLoss) {
  EXPECT_THAT(Parse(BuildHeader("{}}")), Fails(kLost, "its checksum is right, but the text"));
}

// The JSON must end within its area, and nothing may follow its end.
TEST(Luks2Copies, NothingFollowsTheJson) {
  const std::string good = GoodMetadata().dump();
  const std::string filled = good + std::string(0x4000 - 4096 - good.size(), ' ');
  EXPECT_THAT(Parse(BuildHeader(filled)), Fails(kLost, "the text has no end"));
  EXPECT_THAT(Parse(BuildHeader(good + '\0' + "{}")), Fails(kLost, "the text is not JSON"));
}

// SHA-512 is read as well; what is unknown cannot be judged, and is refused rather than skipped.
TEST(Luks2Copies, OtherChecksums) {
  EXPECT_THAT(Parse(BuildHeader(GoodMetadata().dump(), {.checksum = "sha512"})), IsOk());
  EXPECT_THAT(Parse(Copies({.checksum = "whirlpool"}, {})),
              Fails(kRefused, "one copy has a checksum of type \"whirlpool\""));
  EXPECT_THAT(Parse(Copies({}, {.checksum = "md5"})),
              Fails(kRefused, "one copy has a checksum of type \"md5\""));
  const absl::StatusOr<Header> torn = Parse(Copies({.checksum = "\x01\x02"}, {}));
  ASSERT_THAT(torn, IsOk());
  EXPECT_EQ(torn->primary, CopyState::kDamaged);
}

// A copy with a foreign checksum is seen also when a good one lies behind it.
TEST(Luks2Copies, AForeignChecksumBeforeAGoodCopy) {
  Json metadata = GoodMetadata();
  metadata["config"] = {{"json_size", "28672"}, {"keyslots_size", "16711680"}};
  metadata["keyslots"]["0"]["area"]["offset"] = "65536";
  const CopyFields fields = {.metadata_bytes = 0x8000};
  Image image = Concatenate(Image(0x8000), BuildCopy(metadata.dump(), true, fields));
  ASSERT_THAT(Parse(image), IsOk());
  const Image foreign = BuildCopy(metadata.dump(), true, {.checksum = "whirlpool"});
  std::ranges::copy(foreign, image.begin() + 0x4000);
  EXPECT_THAT(Parse(image), Fails(kRefused, "one copy has a checksum of type \"whirlpool\""));
}

// A copy that says that it belongs elsewhere, is of another version or of a size that does not
// exist is damage, even with a right checksum.
TEST(Luks2Copies, MustFitTheirPlace) {
  Image moved = BuildCopy(GoodMetadata().dump(), false);
  testing::PutNumber(moved, 256, 512, 8);
  testing::Seal(moved);
  EXPECT_THAT(Parse(moved), Fails(kLost, "is whole"));
  EXPECT_THAT(Parse(BuildHeader(GoodMetadata().dump(), {.version = 3})), Fails(kLost, "is whole"));
  EXPECT_THAT(Parse(BuildHeader(GoodMetadata().dump(), {.metadata_bytes = 0x5000})),
              Fails(kLost, "is whole"));
  EXPECT_THAT(Parse(BuildHeader(GoodMetadata().dump(), {.metadata_bytes = 0x800000})),
              Fails(kLost, "is whole"));
}

// The UUID becomes part of device-mapper names and of messages: nothing but a UUID is one.
TEST(Luks2Copies, TheUuidMustBeOne) {
  for (const char* uuid : {"", "x", "0f4e6c1a-53b2-4b0f-9d26-6a1d5b8c7e9",
                           "0f4e6c1a\n"
                           "53b2-4b0f-9d26-6a1d5b8c7e90"}) {
    EXPECT_THAT(Parse(BuildHeader(GoodMetadata().dump(), {.uuid = uuid})),
                Fails(kRefused, "its UUID is \""))
        << uuid;
  }
}

// A label may be anything, and is shown without what a terminal would obey.
TEST(Luks2Copies, TheLabelIsPrintable) {
  const absl::StatusOr<Header> header =
      Parse(BuildHeader(GoodMetadata().dump(), {.label = "a\x1b[2J\xff"}));
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->label, "a?[2J?");
}

}  // namespace
}  // namespace cryptvol::luks
