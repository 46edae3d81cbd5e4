// The token that says what a volume is.
#include "luks/token.h"

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/luks/header_matchers.h"

namespace cryptvol::luks {
namespace {

using testing::Fails;
using testing::IsOk;
using Json = nlohmann::json;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

VolumeToken Example() {
  return {.volume_id = "pvc-1",
          .filesystem = "ext4",
          .filesystem_uuid = "0f4e6c1a-53b2-4b0f-9d26-6a1d5b8c7e90",
          .state = VolumeState::kReady,
          .key_id = "2024-05"};
}

Json ExampleJson() { return Json::parse(SerializeToken(Example())); }

// The text is the format that docs/on-disk-format.md promises to other readers.
TEST(Token, HasTheDocumentedForm) {
  EXPECT_EQ(SerializeToken(Example()),
            R"({"filesystem":"ext4","filesystem_uuid":"0f4e6c1a-53b2-4b0f-9d26-6a1d5b8c7e90",)"
            R"("key_id":"2024-05","keyslots":[],"state":"ready","type":"cryptvol","version":1,)"
            R"("volume_id":"pvc-1"})");
}

// What is written is read again.
TEST(Token, RoundTrip) {
  VolumeToken token = Example();
  for (const VolumeState state : {VolumeState::kFormatting, VolumeState::kReady}) {
    token.state = state;
    token.volume_id = std::string(254, '"') + "\xc3\xa9";
    const absl::StatusOr<VolumeToken> read = ParseToken(SerializeToken(token));
    ASSERT_THAT(read, IsOk());
    EXPECT_EQ(read->volume_id, token.volume_id);
    EXPECT_EQ(read->filesystem, "ext4");
    EXPECT_EQ(read->filesystem_uuid, token.filesystem_uuid);
    EXPECT_EQ(read->state, state);
    EXPECT_EQ(read->key_id, "2024-05");
  }
}

// A block volume has neither filesystem nor key id.
TEST(Token, OfABlockVolume) {
  const absl::StatusOr<VolumeToken> read = ParseToken(SerializeToken({.volume_id = "v"}));
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->filesystem, "");
  EXPECT_EQ(read->key_id, "");
  EXPECT_EQ(read->state, VolumeState::kFormatting);
}

// An ext4 that somebody else made may have no UUID; one that is still to be made has one.
TEST(Token, OfAFilesystemWithoutUuid) {
  VolumeToken token = Example();
  token.filesystem_uuid = "";
  EXPECT_THAT(ParseToken(SerializeToken(token)), IsOk());
  EXPECT_THAT(CheckReadable(token), IsOk());
  token.state = VolumeState::kFormatting;
  EXPECT_THAT(ParseToken(SerializeToken(token)), Fails(kInvalid, "\"ext4\", with UUID \"\""));
  EXPECT_THAT(CheckReadable(token), Fails(kInvalid, "write a cryptvol token"));
}

// A newer driver may add members under the same version.
TEST(Token, IgnoresUnknownMembers) {
  Json json = ExampleJson();
  json["extra"] = {1, 2};
  json["keyslots"] = {"0"};
  EXPECT_THAT(ParseToken(json.dump()), IsOk());
}

struct Case {
  const char* name;
  Json value;  // discarded: the member is removed
  const char* words;
};

// Each member has its type and its range.
TEST(Token, RefusesWrongMembers) {
  const Case cases[] = {
      {"type", "luks2-keyring", "not a cryptvol token"},
      {"version", Json(Json::value_t::discarded), "it has no version"},
      {"version", 2, "use a newer driver"},
      {"volume_id", "", "volume id \"\""},
      {"volume_id", std::string(257, 'v'), "volume id"},
      {"volume_id", "a\nb", "volume id \"a?b\""},
      {"volume_id", 7, "no string \"volume_id\""},
      {"filesystem", "ntfs", "filesystem \"ntfs\" is unknown"},
      {"filesystem", "", "its filesystem is \"\", with UUID"},
      {"filesystem_uuid", "x", "with UUID \"x\""},
      {"filesystem_uuid", Json(Json::value_t::discarded), "no string \"filesystem_uuid\""},
      {"state", "done", "its state is \"done\""},
      {"state", Json::array(), "no string \"state\""},
      {"key_id", "\x1b", "key id \"?\""},
      {"key_id", std::string(257, 'k'), "key id"},
  };
  for (const auto& [name, value, words] : cases) {
    Json json = ExampleJson();
    if (value.is_discarded()) {
      json.erase(name);
    } else {
      json[name] = value;
    }
    EXPECT_THAT(ParseToken(json.dump()), Fails(kInvalid, words));
  }
}

// What is no JSON object, or too long, is no token.
TEST(Token, RefusesWhatIsNone) {
  EXPECT_THAT(ParseToken(""), Fails(kInvalid, "read a cryptvol token: the text is not JSON"));
  EXPECT_THAT(ParseToken("[]"), Fails(kInvalid, "not a cryptvol token"));
  Json json = ExampleJson();
  json["extra"] = std::string(4096, 'x');
  EXPECT_THAT(ParseToken(json.dump()), Fails(kInvalid, "more than 4096"));
}

Header WithTokens(std::map<int, std::string> tokens) {
  Header header;
  header.tokens = std::move(tokens);
  return header;
}

// Ours is found among those of others.
TEST(Token, IsFoundAmongOthers) {
  const std::string foreign = R"({"type":"clevis","keyslots":[]})";
  const auto found = FindToken(WithTokens({{0, foreign}, {7, SerializeToken(Example())}}));
  ASSERT_THAT(found, IsOk());
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ((*found)->id, 7);
  EXPECT_EQ((*found)->token.volume_id, "pvc-1");
}

// A header of another driver has none.
TEST(Token, MayBeAbsent) {
  const auto found = FindToken(WithTokens({{0, R"({"type":"clevis","keyslots":[]})"}}));
  ASSERT_THAT(found, IsOk());
  EXPECT_FALSE(found->has_value());
}

// Two tokens cannot both be right, and a broken one must not read as none.
TEST(Token, MustBeOneAndWhole) {
  const std::string good = SerializeToken(Example());
  EXPECT_THAT(FindToken(WithTokens({{1, good}, {2, good}})),
              Fails(absl::StatusCode::kFailedPrecondition, "tokens 1 and 2 both"));
  EXPECT_THAT(FindToken(WithTokens({{1, R"({"type":"cryptvol"})"}})),
              Fails(absl::StatusCode::kFailedPrecondition, "token 1: it has no version"));
}

}  // namespace
}  // namespace cryptvol::luks
