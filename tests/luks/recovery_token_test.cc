// The token that holds the passphrase of the recovery keyslot.
#include "luks/recovery_token.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace cryptvol::luks {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using Json = nlohmann::json;

constexpr char kAgeFile[] =
    "-----BEGIN AGE ENCRYPTED FILE-----\nYWJj\n-----END AGE ENCRYPTED FILE-----\n";

Header WithTokens(std::map<int, std::string> tokens) {
  Header header;
  header.keyslots = {Keyslot{.id = 0}, Keyslot{.id = 1}, Keyslot{.id = 4}};
  header.tokens = std::move(tokens);
  return header;
}

// The text is the format that docs/on-disk-format.md promises to other readers.
TEST(RecoveryToken, HasTheDocumentedForm) {
  EXPECT_EQ(SerializeRecoveryToken(1, "AGE"),
            R"({"age":"AGE","keyslots":["1"],"type":"cryptvol-recovery","version":1})");
  EXPECT_EQ(SerializePlannedRecoveryToken(1, "AGE"),
            R"({"age":"AGE","keyslots":[],"planned":"1","type":"cryptvol-recovery","version":1})");
}

// What is written is found again, beside the tokens of others, all of them and by id.
TEST(RecoveryToken, IsFound) {
  const auto found = FindRecoveryTokens(WithTokens({{0, R"({"type":"clevis","keyslots":[]})"},
                                                    {3, SerializeRecoveryToken(4, kAgeFile)},
                                                    {2, SerializeRecoveryToken(1, kAgeFile)}}));
  EXPECT_THAT(found,
              ElementsAre(Field(&RecoveryToken::keyslot, 1), Field(&RecoveryToken::keyslot, 4)));
  EXPECT_EQ(found[1].id, 3);
  EXPECT_EQ(found[1].age_file, kAgeFile);
  EXPECT_TRUE(IsRecoveryKeyslot(found, 4));
  EXPECT_FALSE(IsRecoveryKeyslot(found, 0));
}

// One without its keyslot, of another version, or with something else inside is none.
TEST(RecoveryToken, IgnoresWhatIsNone) {
  const Json good = Json::parse(SerializeRecoveryToken(1, kAgeFile));
  ASSERT_EQ(FindRecoveryTokens(WithTokens({{0, good.dump()}})).size(), 1);
  const std::vector<Json> patches = {
      {{"keyslots", Json::array()}},
      {{"keyslots", {"7"}}},
      {{"keyslots", {"0", "1"}}},
      {{"keyslots", {1}}},
      {{"version", 2}},
      {{"type", "cryptvol"}},
      {{"age", 1}},
      {{"age", nullptr}},
      {{"age", "plain"}},
      {{"age", std::string(kAgeFile) + "\x1b[2J"}},
      {{"age", std::string(kAgeFile) + std::string(9000, 'A')}},
  };
  for (const Json& patch : patches) {
    Json token = good;
    token.merge_patch(patch);
    EXPECT_THAT(FindRecoveryTokens(WithTokens({{0, token.dump()}})), IsEmpty()) << patch.dump();
  }
}

// A planned keyslot is the token's only when it is of the kind that was planned, and not a user's that got
// the same number later.
TEST(RecoveryToken, APlannedKeyslotIsTheTokens) {
  Header header = WithTokens({{2, SerializePlannedRecoveryToken(4, kAgeFile)}});
  Keyslot& keyslot = header.keyslots.back();
  ASSERT_EQ(keyslot.id, 4);
  keyslot.kdf = "pbkdf2";
  keyslot.kdf_iterations = 1021;
  EXPECT_THAT(FindRecoveryTokens(header), ElementsAre(Field(&RecoveryToken::keyslot, 4)));
  EXPECT_THAT(FindLeftoverRecoveryTokens(header), IsEmpty());
  const auto expect_leftover = [&header] {
    EXPECT_THAT(FindRecoveryTokens(header), IsEmpty());
    EXPECT_THAT(FindLeftoverRecoveryTokens(header), ElementsAre(2));
  };
  keyslot.kdf_iterations = 1000;  // as that of a random key
  expect_leftover();
  keyslot.kdf_iterations = 1021;
  keyslot.kdf = "argon2id";
  expect_leftover();
  header.keyslots.pop_back();
  expect_leftover();
}

// Left over is one of ours that names no keyslot: none that works, none of others, none of a version to come.
TEST(RecoveryToken, LeftoversAreFound) {
  Json leftover = Json::parse(SerializeRecoveryToken(1, kAgeFile));
  leftover["keyslots"] = Json::array();
  Json later = leftover;
  later["version"] = 2;
  EXPECT_THAT(FindLeftoverRecoveryTokens(WithTokens({{0, R"({"type":"clevis","keyslots":[]})"},
                                                     {1, later.dump()},
                                                     {2, SerializeRecoveryToken(1, kAgeFile)},
                                                     {3, leftover.dump()}})),
              ElementsAre(3));
}

}  // namespace
}  // namespace cryptvol::luks
