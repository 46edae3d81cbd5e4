// LUKS1 headers against the allow-list.
#include <functional>

#include "gtest/gtest.h"
#include "luks/header.h"
#include "tests/luks/header_builder.h"
#include "tests/luks/header_matchers.h"

namespace cryptvol::luks {
namespace {

using testing::BuildLuks1Header;
using testing::Fails;
using testing::IsOk;
using testing::kDeviceBytes;
using testing::Luks1Fields;

absl::StatusOr<Header> Parse(const Luks1Fields& fields) {
  return ParseHeader(BuildLuks1Header(fields), kDeviceBytes);
}

// The header that the refusals below start from is accepted, and its fields are read.
TEST(Luks1Header, ReadsAGoodHeader) {
  const absl::StatusOr<Header> header = Parse({});
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->version, 1);
  EXPECT_EQ(header->uuid, testing::kUuid);
  EXPECT_EQ(header->cipher, "aes-xts-plain64");
  EXPECT_EQ(header->data_offset, 2097152u);
  EXPECT_EQ(header->data_bytes, std::nullopt);
  EXPECT_EQ(header->sector_bytes, 512u);
  EXPECT_EQ(header->primary, CopyState::kGood);
  EXPECT_EQ(header->secondary, CopyState::kAbsent);
  ASSERT_EQ(header->keyslots.size(), 1u);
  EXPECT_EQ(header->keyslots[0].kdf, "pbkdf2");
  EXPECT_EQ(header->keyslots[0].kdf_iterations, 1000u);
  EXPECT_EQ(header->keyslots[0].key_bytes, 64u);
  EXPECT_EQ(header->keyslots[0].area_offset, 4096u);
  EXPECT_EQ(header->keyslots[0].area_bytes, 256000u);
  EXPECT_EQ(KdfMemoryBytes(*header), 0u);
}

// Old tools wrote weak hashes, few digest iterations and 32-bit IVs; their volumes open.
TEST(Luks1Header, AcceptsWhatOldToolsWrote) {
  EXPECT_THAT(Parse({.mode = "xts-plain"}), IsOk());
  EXPECT_THAT(Parse({.mode = "cbc-essiv:sha256", .key_bytes = 32}), IsOk());
  EXPECT_THAT(Parse({.hash = "ripemd160"}), IsOk());
  EXPECT_THAT(Parse({.hash = "sha1", .digest_iterations = 10}), IsOk());
}

// A header whose keys were all removed is whole.
TEST(Luks1Header, AcceptsNoKeyslot) {
  const absl::StatusOr<Header> header = Parse({.first = {}});
  ASSERT_THAT(header, IsOk());
  EXPECT_TRUE(header->keyslots.empty());
}

struct Case {
  const char* name;
  Luks1Fields fields;
  const char* words;
};

std::string CaseName(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }

class Luks1Refusal : public ::testing::TestWithParam<Case> {};

// Whatever is not on the allow-list is refused, with words that name it.
TEST_P(Luks1Refusal, NamesTheProblem) {
  EXPECT_THAT(Parse(GetParam().fields),
              Fails(absl::StatusCode::kFailedPrecondition, GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    All, Luks1Refusal,
    ::testing::Values(
        Case{"NullCipher", {.cipher = "cipher_null", .mode = "ecb"}, "\"cipher_null-ecb\""},
        Case{"Ecb", {.mode = "ecb"}, "\"aes-ecb\""},
        Case{"CounterAsIv", {.mode = "cbc-plain"}, "\"aes-cbc-plain\""},
        Case{"CipherWithoutEnd", {.cipher = std::string(32, 'a')}, "the data: its cipher is"},
        Case{"KeySize", {.key_bytes = 65}, "a key of 65 bytes (it takes 32 or 64)"},
        Case{"HugeKeySize", {.key_bytes = 0xffffffff}, "a key of 4294967295 bytes"},
        Case{"Hash", {.hash = "crc32"}, "the header: its hash is \"crc32\""},
        Case{"Uuid", {.uuid = "none"}, "its UUID is \"none\""},
        Case{"NoDigestIterations", {.digest_iterations = 0}, "the digest: 0 iterations"},
        Case{"DigestIterations", {.digest_iterations = 0xffffffff}, "the digest: 4294967295"},
        Case{"DetachedHeader", {.payload_sectors = 0}, "the data begins at 0"},
        Case{"DataOverKeyslots", {.payload_sectors = 4000}, "is not between 1024 and 2048000"},
        Case{"DataBehindTheDevice", {.payload_sectors = 131072}, "does not fit the device"},
        Case{"SlotState",
             {.first = {1, 1000, 4000}},
             "keyslot 0: neither enabled nor disabled (0x1)"},
        Case{"SlotIterations", {.first = {0x00AC71F3, 999, 4000}}, "keyslot 0: 999 iterations"},
        Case{"SlotCost", {.first = {0x00AC71F3, 100'000'001, 4000}}, "100000001 iterations"},
        Case{"Stripes", {.first = {0x00AC71F3, 1000, 1}}, "keyslot 0: 1 stripes"},
        Case{"AreaOverHeader", {.first_area_sectors = 1}, "keyslot 0: its area"},
        Case{"AreaOverlap", {.first_area_sectors = 13}, "the areas of keyslots 0 and 1 overlap"},
        Case{"AreaFarAway", {.first_area_sectors = 0xffffffff}, "keyslot 0: its area"}),
    CaseName);

// A device that ends within the header has lost it.
TEST(Luks1Header, ACutHeaderIsDataLoss) {
  std::vector<uint8_t> bytes = BuildLuks1Header();
  bytes.resize(591);
  EXPECT_THAT(ParseHeader(bytes, bytes.size()),
              Fails(absl::StatusCode::kDataLoss, "the device ends after 591 bytes"));
}

}  // namespace
}  // namespace cryptvol::luks
