#include "keys/volume_secret.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "base/status.h"

namespace cryptvol::keys {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Optional;

using Secrets = std::map<std::string, std::string>;

std::string Text(const SecretBytes& bytes) { return {bytes.chars(), bytes.size()}; }

absl::StatusOr<VolumeSecret> Parse(Secrets secrets) { return ParseVolumeSecret(secrets); }

std::string ErrorOf(const Secrets& secrets) {
  const auto result = Parse(secrets);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  return Message(result.status());
}

std::vector<std::string> PreviousOf(const Secrets& secrets) {
  const auto result = Parse(secrets);
  EXPECT_TRUE(result.ok()) << result.status();
  std::vector<std::string> texts;
  if (result.ok()) {
    for (const Passphrase& passphrase : result->previous) texts.push_back(Text(passphrase.bytes));
  }
  return texts;
}

class PassphraseName : public ::testing::TestWithParam<std::string> {};

// Each driver's name for the passphrase is understood, and reported as the name it had.
TEST_P(PassphraseName, IsRead) {
  const auto secret =
      Parse({{GetParam(), "correct horse"}, {"userID", "kept for another purpose"}});
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_EQ(secret->current.secret_key, GetParam());
  EXPECT_EQ(Text(secret->current.bytes), "correct horse");
}

// An empty passphrase under any of the names is refused by that name.
TEST_P(PassphraseName, IsRefusedWhenEmpty) {
  EXPECT_THAT(ErrorOf({{GetParam(), ""}}), HasSubstr(GetParam() + " is empty"));
}

INSTANTIATE_TEST_SUITE_P(OfAllDrivers, PassphraseName,
                         ::testing::Values("CRYPTO_KEY_VALUE", "encryption-passphrase",
                                           "encryptionPassphrase", "luksKey", "luks-passphrase"));

// A passphrase is its bytes as they are: white space at its ends, NUL and bytes that are no text
// stay.
TEST(VolumeSecretTest, KeepsEveryByteOfThePassphrase) {
  const std::string bytes = std::string(" \t\0\xff", 4) + "x \r\n";
  const auto secret = Parse({{"CRYPTO_KEY_VALUE", bytes}});
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_EQ(Text(secret->current.bytes), bytes);
}

// With nothing but a passphrase every other field says "not given".
TEST(VolumeSecretTest, LeavesWhatIsNotGivenUnset) {
  const auto secret = Parse({{"CRYPTO_KEY_VALUE", "p"}});
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_THAT(secret->previous, IsEmpty());
  EXPECT_FALSE(secret->random);
  EXPECT_EQ(secret->key_id, "");
  EXPECT_EQ(secret->format.cipher, std::nullopt);
  EXPECT_EQ(secret->format.hash, std::nullopt);
  EXPECT_EQ(secret->format.pbkdf, std::nullopt);
  EXPECT_EQ(secret->format.key_bits, std::nullopt);
  EXPECT_EQ(secret->format.pbkdf_iterations, std::nullopt);
  EXPECT_EQ(secret->format.pbkdf_memory_kib, std::nullopt);
}

// A Secret as Longhorn's documentation shows it is read completely.
TEST(VolumeSecretTest, ReadsLonghornsSecret) {
  const auto secret = Parse({{"CRYPTO_KEY_VALUE", "Your encryption passphrase"},
                             {"CRYPTO_KEY_PROVIDER", "secret"},
                             {"CRYPTO_KEY_CIPHER", "aes-xts-plain64"},
                             {"CRYPTO_KEY_HASH", "sha256"},
                             {"CRYPTO_KEY_SIZE", "256"},
                             {"CRYPTO_PBKDF", "argon2i"},
                             {"CRYPTO_PBKDF_FORCE_ITERATIONS", "4"},
                             {"CRYPTO_PBKDF_MEMORY", "65536"}});
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_THAT(secret->format.cipher, Optional(std::string("aes-xts-plain64")));
  EXPECT_THAT(secret->format.hash, Optional(std::string("sha256")));
  EXPECT_THAT(secret->format.key_bits, Optional(256u));
  EXPECT_THAT(secret->format.pbkdf, Optional(std::string("argon2i")));
  EXPECT_THAT(secret->format.pbkdf_iterations, Optional(4u));
  EXPECT_THAT(secret->format.pbkdf_memory_kib, Optional(65536u));
}

// Settings may end in the newline that `echo` writes, and empty ones count as absent.
TEST(VolumeSecretTest, IsLenientWithSettings) {
  const auto secret = Parse({{"CRYPTO_KEY_VALUE", "p"},
                             {"CRYPTO_KEY_PROVIDER", "secret\n"},
                             {"CRYPTO_KEY_CIPHER", ""},
                             {"CRYPTO_KEY_HASH", "\n"},
                             {"CRYPTO_KEY_SIZE", "512\r\n"},
                             {"CRYPTO_PBKDF_MEMORY", ""},
                             {"CRYPTO_KEY_ID", "2024-06\n"}});
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_EQ(secret->format.cipher, std::nullopt);
  EXPECT_EQ(secret->format.hash, std::nullopt);
  EXPECT_THAT(secret->format.key_bits, Optional(512u));
  EXPECT_EQ(secret->format.pbkdf_memory_kib, std::nullopt);
  EXPECT_EQ(secret->key_id, "2024-06");
}

// Numbers are decimal digits that fit 32 bits, and the error names the one that is not.
TEST(VolumeSecretTest, RefusesWhatIsNoNumber) {
  for (const char* text : {"+1", "-1", " 1", "1 ", "0x10", "1k", "4294967296", "1\n\n"}) {
    for (const char* name :
         {"CRYPTO_KEY_SIZE", "CRYPTO_PBKDF_FORCE_ITERATIONS", "CRYPTO_PBKDF_MEMORY"}) {
      EXPECT_THAT(ErrorOf({{"CRYPTO_KEY_VALUE", "p"}, {name, text}}), HasSubstr(name)) << text;
    }
  }
}

// The previous passphrases come in the order of their numbers, not of their names' bytes.
TEST(VolumeSecretTest, OrdersPreviousPassphrasesByNumber) {
  EXPECT_THAT(PreviousOf({{"CRYPTO_KEY_VALUE", "p"},
                          {"CRYPTO_KEY_PREVIOUS_VALUE_10", "ten"},
                          {"CRYPTO_KEY_PREVIOUS_VALUE_2", "two"},
                          {"CRYPTO_KEY_PREVIOUS_VALUE", "one\n"}}),
              ElementsAre("one\n", "two", "ten"));
}

// Thirty previous passphrases fit beside a current one; one more does not.
TEST(VolumeSecretTest, BoundsPreviousPassphrases) {
  Secrets secrets = {{"CRYPTO_KEY_VALUE", "p"}};
  for (int i = 1; i <= 30; ++i) {
    secrets[fmt::format("CRYPTO_KEY_PREVIOUS_VALUE_{}", i)] = fmt::format("p{}", i);
  }
  EXPECT_EQ(PreviousOf(secrets).size(), 30u);
  secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = "p0";
  EXPECT_THAT(ErrorOf(secrets), HasSubstr("31 previous passphrases"));
}

// A name that looks like a previous passphrase's but is none is an error: to ignore it could lock
// its owner out.
TEST(VolumeSecretTest, RefusesMisspeltPreviousNames) {
  for (const char* suffix : {"_", "_x", "2", "_02", "_2x", "_-1", "S"}) {
    const std::string name = std::string("CRYPTO_KEY_PREVIOUS_VALUE") + suffix;
    EXPECT_THAT(ErrorOf({{"CRYPTO_KEY_VALUE", "p"}, {name, "q"}}), HasSubstr(name));
  }
}

// An empty previous passphrase is refused by its name.
TEST(VolumeSecretTest, RefusesEmptyPreviousPassphrases) {
  EXPECT_THAT(ErrorOf({{"CRYPTO_KEY_VALUE", "p"}, {"CRYPTO_KEY_PREVIOUS_VALUE_3", ""}}),
              HasSubstr("CRYPTO_KEY_PREVIOUS_VALUE_3 is empty"));
}

// Trident's four names mean what they mean there.
TEST(VolumeSecretTest, ReadsTridentsSecret) {
  Secrets secrets = {{"luks-passphrase", "new"},
                     {"luks-passphrase-name", "B"},
                     {"previous-luks-passphrase", "old"},
                     {"previous-luks-passphrase-name", "A"}};
  EXPECT_THAT(PreviousOf(secrets), ElementsAre("old"));
  const auto secret = Parse(secrets);
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_EQ(secret->key_id, "B");
}

// Trident's previous passphrase without its current one is half of a Secret, and refused.
TEST(VolumeSecretTest, RefusesTridentsPreviousAlone) {
  EXPECT_THAT(ErrorOf({{"CRYPTO_KEY_VALUE", "p"}, {"previous-luks-passphrase", "q"}}),
              AllOf(HasSubstr("previous-luks-passphrase"), HasSubstr("CRYPTO_KEY_PREVIOUS_VALUE")));
}

// Two drivers' names at once leave open which is meant; both are named.
TEST(VolumeSecretTest, RefusesPassphrasesOfTwoDrivers) {
  EXPECT_THAT(ErrorOf({{"CRYPTO_KEY_VALUE", "p"}, {"luksKey", "p"}}),
              AllOf(HasSubstr("CRYPTO_KEY_VALUE"), HasSubstr("luksKey")));
}

// A Secret without a passphrase says under which name one is expected.
TEST(VolumeSecretTest, RefusesASecretWithoutPassphrase) {
  EXPECT_THAT(ErrorOf({}), HasSubstr("CRYPTO_KEY_VALUE"));
  EXPECT_THAT(ErrorOf({{"CRYPTO_KEY_PREVIOUS_VALUE", "q"}}), HasSubstr("CRYPTO_KEY_VALUE"));
}

// Eight MiB are accepted, and one byte more is not.
TEST(VolumeSecretTest, BoundsThePassphrase) {
  const auto secret = Parse({{"CRYPTO_KEY_VALUE", std::string(kMaxPassphraseBytes, 'x')}});
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_EQ(secret->current.bytes.size(), kMaxPassphraseBytes);
  EXPECT_THAT(ErrorOf({{"CRYPTO_KEY_VALUE", std::string(kMaxPassphraseBytes + 1, 'x')}}),
              HasSubstr("8388609 bytes"));
}

// Only the provider that is implemented is accepted.
TEST(VolumeSecretTest, RefusesOtherProviders) {
  EXPECT_TRUE(Parse({{"CRYPTO_KEY_VALUE", "p"}, {"CRYPTO_KEY_PROVIDER", ""}}).ok());
  EXPECT_THAT(ErrorOf({{"CRYPTO_KEY_VALUE", "p"}, {"CRYPTO_KEY_PROVIDER", "vault"}}),
              HasSubstr("CRYPTO_KEY_PROVIDER"));
}

// A key that is declared to be random has to be long enough to be.
TEST(VolumeSecretTest, DemandsLengthOfRandomKeys) {
  const auto with_length = [](size_t bytes) {
    return Secrets{{"CRYPTO_KEY_VALUE", std::string(bytes, 'x')}, {"CRYPTO_KEY_FORMAT", "random"}};
  };
  const auto secret = Parse(with_length(32));
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_TRUE(secret->random);
  EXPECT_THAT(ErrorOf(with_length(31)), AllOf(HasSubstr("31 bytes"), HasSubstr("at least 32")));
}

// The format has two values and no others.
TEST(VolumeSecretTest, KnowsTwoKeyFormats) {
  const auto secret = Parse({{"CRYPTO_KEY_VALUE", "p"}, {"CRYPTO_KEY_FORMAT", "passphrase"}});
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_FALSE(secret->random);
  EXPECT_THAT(ErrorOf({{"CRYPTO_KEY_VALUE", "p"}, {"CRYPTO_KEY_FORMAT", "Random"}}),
              HasSubstr("CRYPTO_KEY_FORMAT"));
}

// A key's id is printable and at most 128 bytes; ours comes before Trident's.
TEST(VolumeSecretTest, ChecksTheKeyId) {
  const auto secret = Parse({{"luks-passphrase", "p"},
                             {"luks-passphrase-name", "theirs"},
                             {"CRYPTO_KEY_ID", std::string(128, 'i')}});
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_EQ(secret->key_id, std::string(128, 'i'));
  EXPECT_THAT(ErrorOf({{"CRYPTO_KEY_VALUE", "p"}, {"CRYPTO_KEY_ID", std::string(129, 'i')}}),
              HasSubstr("CRYPTO_KEY_ID"));
  EXPECT_THAT(ErrorOf({{"luks-passphrase", "p"}, {"luks-passphrase-name", "a\tb"}}),
              HasSubstr("luks-passphrase-name"));
}

// No error repeats a value of the Secret, under whatever name the passphrase was put by mistake.
TEST(VolumeSecretTest, ErrorsContainNoValue) {
  const std::string value = "hunter2-hunter2";
  const std::vector<Secrets> wrong = {
      {{"CRYPTO_KEY_VALUE", value}, {"luksKey", value}},
      {{"CRYPTO_KEY_VALUE", value}, {"CRYPTO_KEY_PREVIOUS_VALUE", ""}},
      {{"CRYPTO_KEY_VALUE", value}, {"CRYPTO_KEY_PREVIOUS_VALUE_x", value}},
      {{"CRYPTO_KEY_VALUE", value}, {"previous-luks-passphrase", value}},
      {{"CRYPTO_KEY_VALUE", value}, {"CRYPTO_KEY_PROVIDER", value}},
      {{"CRYPTO_KEY_VALUE", value}, {"CRYPTO_KEY_FORMAT", value}},
      {{"CRYPTO_KEY_VALUE", value}, {"CRYPTO_KEY_FORMAT", "random"}},
      {{"CRYPTO_KEY_VALUE", value}, {"CRYPTO_KEY_ID", value + "\t"}},
      {{"CRYPTO_KEY_VALUE", value}, {"CRYPTO_KEY_SIZE", value}},
      {{"CRYPTO_KEY_VALEU", value}},
  };
  for (const Secrets& secrets : wrong) EXPECT_THAT(ErrorOf(secrets), Not(HasSubstr("hunter2")));
}

// The buffers that held values read zero afterwards, on success and on failure, also those of names
// that are unknown: a passphrase may stand there.
TEST(VolumeSecretTest, OverwritesTheMapsValues) {
  for (const char* provider : {"secret", "vault"}) {
    const std::string value(100, 'k');  // far beyond the small-string buffer
    Secrets secrets = {{"CRYPTO_KEY_VALUE", value},
                       {"CRYPTO_KEY_PREVIOUS_VALUE", value},
                       {"unknown", value},
                       {"CRYPTO_KEY_PROVIDER", provider}};
    std::vector<const char*> buffers;
    for (const char* name : {"CRYPTO_KEY_VALUE", "CRYPTO_KEY_PREVIOUS_VALUE", "unknown"}) {
      buffers.push_back(secrets.at(name).data());
    }
    EXPECT_EQ(ParseVolumeSecret(secrets).ok(), std::string(provider) == "secret");
    for (const char* buffer : buffers) {
      EXPECT_THAT(std::vector<char>(buffer, buffer + value.capacity()), Each('\0'));
    }
  }
}

// A short value lies inside the string itself, and is overwritten there.
TEST(VolumeSecretTest, WipesShortValuesInPlace) {
  Secrets secrets = {{"CRYPTO_KEY_VALUE", "short"}};
  const char* buffer = secrets.at("CRYPTO_KEY_VALUE").data();
  WipeSecrets(secrets);
  EXPECT_THAT(std::vector<char>(buffer, buffer + 5), Each('\0'));
}

// A generated passphrase is 256 bits in hexadecimal digits, good enough for
// CRYPTO_KEY_FORMAT=random, and another one each time.
TEST(GeneratePassphraseTest, MakesDistinctRandomKeys) {
  std::set<std::string> seen;
  for (int i = 0; i < 16; ++i) {
    const auto generated = GeneratePassphrase();
    ASSERT_TRUE(generated.ok()) << generated.status();
    const std::string text = Text(*generated);
    EXPECT_EQ(text.size(), 64u);
    EXPECT_TRUE(std::ranges::all_of(text, [](unsigned char c) {
      return std::isdigit(c) || (c >= 'a' && c <= 'f');
    })) << text;
    EXPECT_TRUE(seen.insert(text).second);
    EXPECT_TRUE(Parse({{"CRYPTO_KEY_VALUE", text}, {"CRYPTO_KEY_FORMAT", "random"}}).ok());
  }
}

}  // namespace
}  // namespace cryptvol::keys
