// The allow-list of LUKS2: every rule, on headers whose checksums are right and whose copies agree.
#include <functional>

#include "gtest/gtest.h"
#include "luks/header.h"
#include "tests/luks/header_builder.h"
#include "tests/luks/header_matchers.h"

namespace cryptvol::luks {
namespace {

using testing::BuildHeader;
using ::testing::ElementsAre;
using testing::Fails;
using ::testing::Field;
using testing::GoodMetadata;
using testing::IsOk;
using testing::kDeviceBytes;
using Json = nlohmann::json;

absl::StatusOr<Header> Parse(const Json& metadata, const HeaderLimits& limits = {}) {
  return ParseHeader(BuildHeader(metadata.dump()), kDeviceBytes, limits);
}

Json& Slot(Json& metadata) { return metadata["keyslots"]["0"]; }
Json& Segment(Json& metadata) { return metadata["segments"]["0"]; }
Json& Digest(Json& metadata) { return metadata["digests"]["0"]; }

// A second keyslot for the same key, in an area of its own.
Json WithSecondSlot() {
  Json metadata = GoodMetadata();
  metadata["keyslots"]["1"] = Slot(metadata);
  metadata["keyslots"]["1"]["area"]["offset"] = "290816";
  Digest(metadata)["keyslots"] = {"0", "1"};
  return metadata;
}

struct Case {
  const char* name;
  std::function<void(Json&)> change;
  const char* words = "";
};

std::string CaseName(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }

// The header that the refusals below start from is accepted, and its fields are read.
TEST(Luks2Metadata, ReadsAGoodHeader) {
  const absl::StatusOr<Header> header = Parse(GoodMetadata());
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->version, 2);
  EXPECT_EQ(header->uuid, testing::kUuid);
  EXPECT_EQ(header->sequence, 3u);
  EXPECT_EQ(header->metadata_bytes, 16384u);
  EXPECT_EQ(header->cipher, "aes-xts-plain64");
  EXPECT_EQ(header->data_offset, 16777216u);
  EXPECT_EQ(header->data_bytes, std::nullopt);
  EXPECT_EQ(header->sector_bytes, 4096u);
  ASSERT_EQ(header->keyslots.size(), 1u);
  const Keyslot& slot = header->keyslots[0];
  EXPECT_EQ(slot.kdf, "argon2id");
  EXPECT_EQ(slot.kdf_memory_kib, 32768u);
  EXPECT_EQ(slot.kdf_iterations, 4u);
  EXPECT_EQ(slot.kdf_lanes, 2u);
  EXPECT_EQ(slot.encryption, "aes-xts-plain64");
  EXPECT_EQ(slot.key_bytes, 64u);
  EXPECT_EQ(slot.area_offset, 32768u);
  EXPECT_EQ(slot.area_bytes, 258048u);
  EXPECT_FALSE(slot.ignored);
}

class Luks2Refusal : public ::testing::TestWithParam<Case> {};

// Whatever is not on the allow-list is refused, with words that name it.
TEST_P(Luks2Refusal, NamesTheProblem) {
  Json metadata = GoodMetadata();
  GetParam().change(metadata);
  EXPECT_THAT(Parse(metadata), Fails(absl::StatusCode::kFailedPrecondition, GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    Cipher, Luks2Refusal,
    ::testing::Values(
        Case{"NullCipherOfData", [](Json& m) { Segment(m)["encryption"] = "cipher_null-ecb"; },
             "the data: its cipher is \"cipher_null-ecb\""},
        Case{"NullCipherInXts",
             [](Json& m) { Segment(m)["encryption"] = "cipher_null-xts-plain64"; },
             "the data: its cipher is \"cipher_null-xts-plain64\""},
        Case{"NullCipherOfKeyslot",
             [](Json& m) { Slot(m)["area"]["encryption"] = "cipher_null-ecb"; },
             "keyslot 0's area: its cipher is \"cipher_null-ecb\""},
        Case{"Ecb", [](Json& m) { Segment(m)["encryption"] = "aes-ecb"; }, "\"aes-ecb\""},
        Case{"EcbOfKeyslot", [](Json& m) { Slot(m)["area"]["encryption"] = "aes-ecb"; },
             "keyslot 0's area: its cipher is \"aes-ecb\""},
        Case{"CounterAsIv", [](Json& m) { Segment(m)["encryption"] = "aes-cbc-plain64"; },
             "\"aes-cbc-plain64\""},
        Case{"NullIv", [](Json& m) { Segment(m)["encryption"] = "aes-xts-null"; },
             "\"aes-xts-null\""},
        Case{"KernelTemplate",
             [](Json& m) { Segment(m)["encryption"] = "capi:xts(ecb(cipher_null))-plain64"; },
             "\"capi:xts(ecb(cipher_null))-plain64\""},
        Case{"NoDash", [](Json& m) { Segment(m)["encryption"] = "aes"; }, "\"aes\""},
        Case{"UpperCase", [](Json& m) { Segment(m)["encryption"] = "AES-XTS-PLAIN64"; },
             "\"AES-XTS-PLAIN64\""},
        Case{"NoCipher", [](Json& m) { Segment(m).erase("encryption"); },
             "the data: its cipher is \"\""},
        Case{"CipherIsANumber", [](Json& m) { Segment(m)["encryption"] = 7; },
             "the data: its cipher is \"\""},
        Case{"KeySizeOfOtherCipher", [](Json& m) { Slot(m)["key_size"] = 16; },
             "keyslot 0: aes-xts-plain64 with a key of 16 bytes (it takes 32 or 64)"},
        Case{"KeySizeZero", [](Json& m) { Slot(m)["key_size"] = 0; }, "with a key of 0 bytes"},
        Case{"KeySizeHuge", [](Json& m) { Slot(m)["key_size"] = 4294967295u; },
             "with a key of 4294967295 bytes"},
        Case{"AreaKeySize", [](Json& m) { Slot(m)["area"]["key_size"] = 8; },
             "keyslot 0's area: aes-xts-plain64 with a key of 8 bytes"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Segment, Luks2Refusal,
    ::testing::Values(
        Case{"None", [](Json& m) { m["segments"] = Json::object(); }, "it has 0 segments"},
        Case{"Two", [](Json& m) { m["segments"]["1"] = Segment(m); }, "it has 2 segments"},
        Case{"NoSection", [](Json& m) { m.erase("segments"); }, "it has 0 segments"},
        Case{"SectionIsAList", [](Json& m) { m["segments"] = Json::array({Segment(m)}); },
             "it has 0 segments"},
        Case{"Numbered1",
             [](Json& m) {
               m["segments"] = {{"1", Segment(m)}};
               Digest(m)["segments"] = {"1"};
             },
             "its segment has the number 1"},
        Case{"Linear", [](Json& m) { Segment(m)["type"] = "linear"; },
             "of type \"linear\", not \"crypt\""},
        Case{"Opal", [](Json& m) { Segment(m)["type"] = "hw-opal-crypt"; }, "\"hw-opal-crypt\""},
        Case{"Integrity",
             [](Json& m) {
               Segment(m)["integrity"] = {{"type", "hmac(sha256)"},
                                          {"journal_encryption", "none"},
                                          {"journal_integrity", "none"}};
             },
             "the data: it has \"integrity\""},
        Case{"UnknownMember", [](Json& m) { Segment(m)["opal_key_size"] = 32; },
             "the data: it has \"opal_key_size\""},
        Case{"InReencryption", [](Json& m) { Segment(m)["flags"] = {"in-reencryption"}; },
             "its segment has flags"},
        Case{"FlagsAreNoList", [](Json& m) { Segment(m)["flags"] = "backup-final"; },
             "its segment has flags"},
        Case{"OverKeyslots", [](Json& m) { Segment(m)["offset"] = "16773120"; },
             "the data begins at 16773120"},
        Case{"AtZero", [](Json& m) { Segment(m)["offset"] = "0"; }, "the data begins at 0"},
        Case{"OffsetOfHalfASector", [](Json& m) { Segment(m)["offset"] = "16777472"; },
             "the data begins at 16777472"},
        Case{"OffsetBehindTheDevice", [](Json& m) { Segment(m)["offset"] = "67108864"; },
             "does not fit the device"},
        Case{"OffsetOver64Bits", [](Json& m) { Segment(m)["offset"] = "18446744073709551616"; },
             "its place is missing or no number"},
        Case{"OffsetIsANumber", [](Json& m) { Segment(m)["offset"] = 16777216; },
             "its place is missing or no number"},
        Case{"OffsetWithSign", [](Json& m) { Segment(m)["offset"] = "+16777216"; },
             "its place is missing or no number"},
        Case{"OffsetEmpty", [](Json& m) { Segment(m)["offset"] = ""; },
             "its place is missing or no number"},
        Case{"OffsetInHex", [](Json& m) { Segment(m)["offset"] = "0x1000000"; },
             "its place is missing or no number"},
        Case{"SizeOverTheDevice", [](Json& m) { Segment(m)["size"] = "67108864"; },
             "does not fit the device"},
        Case{"SizeThatWraps", [](Json& m) { Segment(m)["size"] = "18446744073692774400"; },
             "does not fit the device"},
        Case{"SizeZero", [](Json& m) { Segment(m)["size"] = "0"; }, "a size of 0 bytes"},
        Case{"SizeOfHalfASector", [](Json& m) { Segment(m)["size"] = "6144"; },
             "a size of 6144 bytes with sectors of 4096"},
        Case{"SizeMissing", [](Json& m) { Segment(m).erase("size"); },
             "its place is missing or no number"},
        Case{"SectorOf3", [](Json& m) { Segment(m)["sector_size"] = 3; }, "sectors of 3 bytes"},
        Case{"SectorOf0", [](Json& m) { Segment(m)["sector_size"] = 0; }, "sectors of 0 bytes"},
        Case{"SectorOf8192", [](Json& m) { Segment(m)["sector_size"] = 8192; },
             "sectors of 8192 bytes"},
        Case{"SectorNegative", [](Json& m) { Segment(m)["sector_size"] = -512; },
             "sectors of 0 bytes"},
        Case{"SectorIsAFraction", [](Json& m) { Segment(m)["sector_size"] = 512.0; },
             "sectors of 0 bytes"},
        Case{"SectorThatLibcryptsetupCuts",
             [](Json& m) { Segment(m)["sector_size"] = (uint64_t{1} << 32) + 512; },
             "sectors of 0 bytes"},
        Case{"ShiftedIv", [](Json& m) { Segment(m)["iv_tweak"] = "8"; }, "its first IV is not 0"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Config, Luks2Refusal,
    ::testing::Values(
        Case{"Missing", [](Json& m) { m.erase("config"); }, "no section \"config\""},
        Case{"OtherJsonSize", [](Json& m) { m["config"]["json_size"] = "28672"; },
             "its JSON area has 12288 bytes"},
        Case{"NoKeyslotsSize", [](Json& m) { m["config"].erase("keyslots_size"); },
             "the size of its keyslot area"},
        Case{"HugeKeyslotsSize", [](Json& m) { m["config"]["keyslots_size"] = "134221824"; },
             "the size of its keyslot area"},
        Case{"UnalignedKeyslotsSize", [](Json& m) { m["config"]["keyslots_size"] = "16744000"; },
             "the size of its keyslot area"},
        Case{"OfflineReencryption",
             [](Json& m) { m["config"]["requirements"]["mandatory"] = {"offline-reencrypt"}; },
             "it requires \"offline-reencrypt\" (finish it"},
        Case{"UnknownRequirement",
             [](Json& m) { m["config"]["requirements"]["mandatory"] = {"quantum"}; },
             "it requires \"quantum\""},
        Case{"RequirementIsANumber",
             [](Json& m) { m["config"]["requirements"]["mandatory"] = {1}; }, "it requires \"\""},
        Case{"RequirementsAreNoObject", [](Json& m) { m["config"]["requirements"] = {"opal"}; },
             "its requirements are no object"},
        Case{"MandatoryIsNoList",
             [](Json& m) { m["config"]["requirements"]["mandatory"] = "opal"; },
             "its mandatory requirements are no list"},
        Case{"UnknownFlag", [](Json& m) { m["config"]["flags"] = {"allow-discards", "fast"}; },
             "unknown activation flag \"fast\""},
        Case{"FlagsAreNoList", [](Json& m) { m["config"]["flags"] = "allow-discards"; },
             "its activation flags are no list"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Keyslot, Luks2Refusal,
    ::testing::Values(
        Case{"SectionMissing", [](Json& m) { m.erase("keyslots"); }, "no section \"keyslots\""},
        Case{"NumberTooHigh", [](Json& m) { m["keyslots"]["32"] = Slot(m); },
             "the section \"keyslots\" has an entry \"32\""},
        Case{"NumberWithZero", [](Json& m) { m["keyslots"]["00"] = Slot(m); }, "an entry \"00\""},
        Case{"NumberEmpty", [](Json& m) { m["keyslots"][""] = Slot(m); }, "an entry \"\""},
        Case{"NoNumber", [](Json& m) { m["keyslots"]["-1"] = Slot(m); }, "an entry \"-1\""},
        Case{"NoObject", [](Json& m) { m["keyslots"]["0"] = "slot"; }, "an entry \"0\""},
        Case{"OfReencryption", [](Json& m) { Slot(m)["type"] = "reencrypt"; },
             "keyslot 0: of type \"reencrypt\""},
        Case{"UnknownPriority", [](Json& m) { Slot(m)["priority"] = 3; },
             "keyslot 0: an unknown priority"},
        Case{"PriorityIsText", [](Json& m) { Slot(m)["priority"] = "0"; },
             "keyslot 0: an unknown priority"},
        Case{"NoDigest", [](Json& m) { Digest(m)["keyslots"] = Json::array(); },
             "keyslot 0: no digest"},
        Case{"NoArea", [](Json& m) { Slot(m).erase("area"); }, "its area is not of type \"raw\""},
        Case{"AreaOfReencryption", [](Json& m) { Slot(m)["area"]["type"] = "journal"; },
             "its area is not of type \"raw\""},
        Case{"AreaOverSecondaryCopy", [](Json& m) { Slot(m)["area"]["offset"] = "28672"; },
             "is not between 32768 and 16777216"},
        Case{"AreaOverData", [](Json& m) { Slot(m)["area"]["offset"] = "16523264"; },
             "is not between 32768 and 16777216"},
        Case{"AreaThatWraps", [](Json& m) { Slot(m)["area"]["offset"] = "18446744073709551104"; },
             "is not between 32768 and 16777216"},
        Case{"AreaSizeThatWraps", [](Json& m) { Slot(m)["area"]["size"] = "18446744073709551615"; },
             "is not between 32768 and 16777216"},
        Case{"AreaTooSmall", [](Json& m) { Slot(m)["area"]["size"] = "253952"; },
             "its area has 253952 bytes, a key of 64 bytes takes 256000"},
        Case{"AreaTooLarge", [](Json& m) { Slot(m)["area"]["size"] = "2097152"; },
             "its area has 2097152 bytes"},
        Case{"OtherStripes", [](Json& m) { Slot(m)["af"]["stripes"] = 1; }, "4000 stripes"},
        Case{"OtherSplitter", [](Json& m) { Slot(m)["af"]["type"] = "none"; }, "4000 stripes"},
        Case{"NoSplitter", [](Json& m) { Slot(m).erase("af"); }, "4000 stripes"},
        Case{"UnknownHashOfSplitter", [](Json& m) { Slot(m)["af"]["hash"] = "md5"; },
             "keyslot 0's area: its hash is \"md5\""},
        Case{"NoKdf", [](Json& m) { Slot(m).erase("kdf"); }, "it has no KDF"},
        Case{"NoSalt", [](Json& m) { Slot(m)["kdf"].erase("salt"); }, "it has no KDF"},
        Case{"UnknownKdf", [](Json& m) { Slot(m)["kdf"]["type"] = "none"; }, "its KDF is \"none\""},
        Case{"ArgonMemory", [](Json& m) { Slot(m)["kdf"]["memory"] = (4 << 20) + 1; },
             "Argon2 with 4194305 KiB of memory"},
        Case{"ArgonNoMemory", [](Json& m) { Slot(m)["kdf"]["memory"] = 0; },
             "Argon2 with 0 KiB of memory"},
        Case{"ArgonWork", [](Json& m) { Slot(m)["kdf"]["time"] = 2049; },
             "2049 passes of Argon2 over 32768 KiB of memory (1 to 2048 are allowed)"},
        Case{"ArgonWorkThatWraps",
             [](Json& m) { Slot(m)["kdf"]["time"] = (uint64_t{1} << 32) + 4; },
             "4294967300 passes of Argon2"},
        Case{"ArgonMemoryThatWraps",
             [](Json& m) { Slot(m)["kdf"]["memory"] = (uint64_t{1} << 32) + 32; },
             "Argon2 with 4294967328 KiB of memory"},
        Case{"ArgonLanesThatWrap",
             [](Json& m) { Slot(m)["kdf"]["cpus"] = (uint64_t{1} << 32) + 1; },
             "Argon2 with 4294967297 lanes"},
        Case{"ArgonNoPass", [](Json& m) { Slot(m)["kdf"]["time"] = 0; }, "0 passes of Argon2"},
        Case{"ArgonLanes", [](Json& m) { Slot(m)["kdf"]["cpus"] = 5; }, "Argon2 with 5 lanes"},
        Case{"ArgonNoLane", [](Json& m) { Slot(m)["kdf"].erase("cpus"); }, "Argon2 with 0 lanes"},
        Case{"Pbkdf2TooFew",
             [](Json& m) {
               Slot(m)["kdf"] = {
                   {"type", "pbkdf2"}, {"hash", "sha256"}, {"iterations", 999}, {"salt", "AA=="}};
             },
             "keyslot 0: 999 iterations of PBKDF2"},
        Case{"Pbkdf2TooMany",
             [](Json& m) {
               Slot(m)["kdf"] = {{"type", "pbkdf2"},
                                 {"hash", "sha256"},
                                 {"iterations", 100'000'001},
                                 {"salt", "AA=="}};
             },
             "keyslot 0: 100000001 iterations of PBKDF2"},
        Case{"Pbkdf2UnknownHash",
             [](Json& m) {
               Slot(m)["kdf"] = {
                   {"type", "pbkdf2"}, {"hash", "crc32"}, {"iterations", 1000}, {"salt", "AA=="}};
             },
             "keyslot 0: its hash is \"crc32\""}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Digest, Luks2Refusal,
    ::testing::Values(
        Case{"SectionMissing", [](Json& m) { m.erase("digests"); }, "no section \"digests\""},
        Case{"None", [](Json& m) { m["digests"] = Json::object(); },
             "0 digests identify the key of the data"},
        Case{"TwoForTheData", [](Json& m) { m["digests"]["1"] = Digest(m); },
             "2 digests identify the key of the data"},
        Case{"TwoForAKeyslot",
             [](Json& m) {
               m["digests"]["1"] = Digest(m);
               m["digests"]["1"]["segments"] = Json::array();
             },
             "keyslot 0: it has several digests"},
        Case{"OtherType", [](Json& m) { Digest(m)["type"] = "none"; },
             "digest 0: not a PBKDF2 digest"},
        Case{"NoValue", [](Json& m) { Digest(m).erase("digest"); },
             "digest 0: not a PBKDF2 digest"},
        Case{"TooManyIterations", [](Json& m) { Digest(m)["iterations"] = 100'000'001; },
             "digest 0: 100000001 iterations"},
        Case{"TooFewIterations", [](Json& m) { Digest(m)["iterations"] = 0; },
             "digest 0: 0 iterations"},
        Case{"UnknownHash", [](Json& m) { Digest(m)["hash"] = "none"; },
             "digest 0: its hash is \"none\""},
        Case{"KeyslotThatIsNone", [](Json& m) { Digest(m)["keyslots"] = {"0", "5"}; },
             "digest 0: its list of keyslots names one that does not exist"},
        Case{"KeyslotIsANumber", [](Json& m) { Digest(m)["keyslots"] = {0}; },
             "digest 0: its list of keyslots"},
        Case{"NoSegments", [](Json& m) { Digest(m).erase("segments"); },
             "digest 0: it has no list of segments"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Token, Luks2Refusal,
    ::testing::Values(
        Case{"SectionMissing", [](Json& m) { m.erase("tokens"); }, "no section \"tokens\""},
        Case{"NumberTooHigh",
             [](Json& m) { m["tokens"]["32"] = {{"type", "x"}, {"keyslots", Json::array()}}; },
             "the section \"tokens\" has an entry \"32\""},
        Case{"NoType", [](Json& m) { m["tokens"]["0"] = {{"keyslots", Json::array()}}; },
             "token 0: it has no type"},
        Case{"NoKeyslots", [](Json& m) { m["tokens"]["0"] = {{"type", "x"}}; },
             "token 0: it has no list of keyslots"},
        Case{"KeyslotThatIsNone",
             [](Json& m) { m["tokens"]["0"] = {{"type", "x"}, {"keyslots", {"3"}}}; },
             "token 0: its list of keyslots names one that does not exist"}),
    CaseName);

class Luks2Acceptance : public ::testing::TestWithParam<Case> {};

// What LUKS tools write in the field is accepted.
TEST_P(Luks2Acceptance, IsOnTheList) {
  Json metadata = GoodMetadata();
  GetParam().change(metadata);
  EXPECT_THAT(Parse(metadata), IsOk());
}

void SetCipher(Json& metadata, const char* cipher, int key_bytes) {
  Segment(metadata)["encryption"] = cipher;
  Slot(metadata)["key_size"] = key_bytes;
}

INSTANTIATE_TEST_SUITE_P(
    All, Luks2Acceptance,
    ::testing::Values(
        Case{"Aes128Xts", [](Json& m) { SetCipher(m, "aes-xts-plain64", 32); }},
        Case{"OldXts", [](Json& m) { SetCipher(m, "aes-xts-plain", 64); }},
        Case{"Cbc", [](Json& m) { SetCipher(m, "aes-cbc-essiv:sha256", 24); }},
        Case{"Serpent", [](Json& m) { SetCipher(m, "serpent-xts-plain64", 64); }},
        Case{"Twofish", [](Json& m) { SetCipher(m, "twofish-xts-plain64", 64); }},
        Case{"Camellia", [](Json& m) { SetCipher(m, "camellia-cbc-essiv:sha256", 32); }},
        Case{"Adiantum", [](Json& m) { SetCipher(m, "xchacha20,aes-adiantum-plain64", 32); }},
        Case{"Adiantum12", [](Json& m) { SetCipher(m, "xchacha12,aes-adiantum-plain64", 32); }},
        Case{"FixedSize", [](Json& m) { Segment(m)["size"] = "50331648"; }},
        Case{"EmptySegmentFlags", [](Json& m) { Segment(m)["flags"] = Json::array(); }},
        Case{"ActivationFlags",
             [](Json& m) {
               m["config"]["flags"] = {"allow-discards",    "same-cpu-crypt",
                                       "no-journal",        "submit-from-crypt-cpus",
                                       "no-read-workqueue", "no-write-workqueue"};
             }},
        Case{"NoRequirements",
             [](Json& m) { m["config"]["requirements"]["mandatory"] = Json::array(); }},
        Case{"ForeignToken",
             [](Json& m) { m["tokens"]["31"] = {{"type", "clevis"}, {"keyslots", {"0"}}}; }},
        Case{"UnknownSection", [](Json& m) { m["notes"] = "none"; }},
        Case{"NoKeyslot",
             [](Json& m) {
               m["keyslots"] = Json::object();
               Digest(m)["keyslots"] = Json::array();
             }},
        Case{"DigestOfAnOldTool", [](Json& m) { Digest(m)["iterations"] = 10; }},
        Case{"LargestArgonMemory",
             [](Json& m) {
               Slot(m)["kdf"]["memory"] = 4 << 20;
               Slot(m)["kdf"]["time"] = 16;
             }}),
    CaseName);

// A fixed size is told apart from "to the end".
TEST(Luks2Metadata, ReadsAFixedSize) {
  Json metadata = GoodMetadata();
  Segment(metadata)["size"] = "8192";
  const absl::StatusOr<Header> header = Parse(metadata);
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->data_bytes, 8192u);
}

// Keyslots come in the order of their numbers, not of their names.
TEST(Luks2Metadata, SortsKeyslotsByNumber) {
  Json metadata = WithSecondSlot();
  metadata["keyslots"]["10"] = metadata["keyslots"]["1"];
  metadata["keyslots"]["2"] = metadata["keyslots"]["1"];
  metadata["keyslots"]["10"]["area"]["offset"] = "548864";
  metadata["keyslots"]["2"]["area"]["offset"] = "806912";
  Digest(metadata)["keyslots"] = {"0", "1", "2", "10"};
  const absl::StatusOr<Header> header = Parse(metadata);
  ASSERT_THAT(header, IsOk());
  EXPECT_THAT(header->keyslots, ElementsAre(Field(&Keyslot::id, 0), Field(&Keyslot::id, 1),
                                            Field(&Keyslot::id, 2), Field(&Keyslot::id, 10)));
}

// Areas that share a byte are refused, adjacent ones are not.
TEST(Luks2Metadata, RefusesOverlappingAreas) {
  Json metadata = WithSecondSlot();
  EXPECT_THAT(Parse(metadata), IsOk());
  metadata["keyslots"]["1"]["area"]["offset"] = "290815";
  EXPECT_THAT(Parse(metadata), Fails(absl::StatusCode::kFailedPrecondition,
                                     "the areas of keyslots 0 and 1 overlap"));
}

// A keyslot that does not hold the data's key is checked like the others, but is none to be tried.
TEST(Luks2Metadata, LeavesOutUnboundKeyslots) {
  Json metadata = WithSecondSlot();
  Digest(metadata)["keyslots"] = {"0"};
  metadata["digests"]["1"] = Digest(metadata);
  metadata["digests"]["1"]["keyslots"] = {"1"};
  metadata["digests"]["1"]["segments"] = Json::array();
  metadata["keyslots"]["1"]["key_size"] = 20;
  const absl::StatusOr<Header> header = Parse(metadata);
  ASSERT_THAT(header, IsOk());
  EXPECT_THAT(header->keyslots, ElementsAre(Field(&Keyslot::id, 0)));
  metadata["keyslots"]["1"]["key_size"] = 15;
  EXPECT_THAT(Parse(metadata),
              Fails(absl::StatusCode::kFailedPrecondition, "keyslot 1: a key of 15 bytes"));
}

// The limits of the caller hold, not just the defaults.
TEST(Luks2Metadata, TakesTheLimitsOfTheCaller) {
  const Json metadata = GoodMetadata();
  EXPECT_THAT(Parse(metadata, {.max_argon_memory_kib = 32767}),
              Fails(absl::StatusCode::kFailedPrecondition, "Argon2 with 32768 KiB"));
  EXPECT_THAT(Parse(metadata, {.max_argon_work_kib = 4 * 32768 - 1}),
              Fails(absl::StatusCode::kFailedPrecondition, "4 passes of Argon2"));
  EXPECT_THAT(Parse(metadata, {.max_pbkdf2_iterations = 999}),
              Fails(absl::StatusCode::kFailedPrecondition, "digest 0: 1000 iterations"));
}

// The memory of an attempt is that of the most expensive keyslot.
TEST(Luks2Metadata, TellsTheMemoryOfTheWorstKeyslot) {
  Json metadata = WithSecondSlot();
  metadata["keyslots"]["1"]["kdf"]["memory"] = 65536;
  const absl::StatusOr<Header> header = Parse(metadata);
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(KdfMemoryBytes(*header), uint64_t{64} << 20);
}

// A message tells of many problems at once, but not of as many as an attacker likes.
TEST(Luks2Metadata, ListsAFewProblems) {
  Json metadata = GoodMetadata();
  Segment(metadata)["encryption"] = "cipher_null-ecb";
  Slot(metadata)["af"]["stripes"] = 1;
  EXPECT_THAT(Parse(metadata), Fails(absl::StatusCode::kFailedPrecondition, "\"cipher_null-ecb\""));
  EXPECT_THAT(Parse(metadata), Fails(absl::StatusCode::kFailedPrecondition, "4000 stripes"));
  metadata["config"]["flags"] = Json::array();
  for (int i = 0; i < 1000; ++i) metadata["config"]["flags"].push_back(i);
  const absl::Status refusal = Parse(metadata).status();
  EXPECT_THAT(refusal, Fails(absl::StatusCode::kFailedPrecondition, "and 8 more"));
  EXPECT_LT(refusal.message().size(), 2000u);
}

// What a stranger wrote cannot forge a line of our log, nor flood it.
TEST(Luks2Metadata, QuotesForeignText) {
  Json metadata = GoodMetadata();
  metadata["config"]["requirements"]["mandatory"] = {"a\nERROR \xc3\xa9" + std::string(100, 'x')};
  const absl::Status refusal = Parse(metadata).status();
  EXPECT_THAT(refusal, Fails(absl::StatusCode::kFailedPrecondition,
                             "it requires \"a?ERROR ??" + std::string(54, 'x') + "...\""));
}

}  // namespace
}  // namespace cryptvol::luks
