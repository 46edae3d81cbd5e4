// Base64 and Bech32, of which one form only is right.
#include <cctype>

#include "age/base64.h"
#include "age/bech32.h"
#include "tests/age/testing.h"

namespace cryptvol::age {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::kInvalid;
using testing::Noise;

std::string Decoded(std::string_view text) {
  const auto bytes = DecodeBase64(text);
  return bytes ? std::string(AsText(*bytes)) : "refused";
}

// RFC 4648's own examples, without and with padding.
TEST(Base64, EncodesThePublishedExamples) {
  const std::vector<std::pair<std::string, std::string>> examples = {
      {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},         {"foo", "Zm9v"},
      {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : examples) {
    EXPECT_EQ(EncodeBase64(AsBytes(plain)), encoded);
    EXPECT_EQ(Decoded(encoded), plain);
    const std::string padded = encoded + std::string((4 - encoded.size() % 4) % 4, '=');
    EXPECT_EQ(EncodePaddedBase64(AsBytes(plain)), padded);
    EXPECT_EQ(AsText(DecodePaddedBase64(padded).value()), plain);
  }
}

// Every byte value survives, at every alignment.
TEST(Base64, RoundTrip) {
  for (size_t size = 0; size < 300; ++size) {
    const std::string plain = Noise(size);
    EXPECT_EQ(Decoded(EncodeBase64(AsBytes(plain))), plain);
  }
}

// Whatever is not the canonical form is refused: padding, white space, other alphabets, lone
// digits, bits that no byte holds.
TEST(Base64, RefusesAllOtherForms) {
  for (const char* text : {"Zg==", "Zg=", "Z", "Zm9vY", "Zh", "Zm9", "Zm9vYh", " Zg", "Zg ", "Z\ng",
                           "Zg\n", "-_8", "Zm\xc3\xa4", "===="}) {
    EXPECT_EQ(Decoded(text), "refused") << text;
  }
  EXPECT_EQ(DecodeBase64(std::string_view("Zg\0A", 4)), std::nullopt);
}

// Padding is neither left out nor put where none belongs.
TEST(Base64, RefusesWrongPadding) {
  for (const char* text :
       {"Zg", "Zg=", "Zg===", "Zm8", "Zm9v====", "=", "====", "Zm8==", "Zh==", "Zg==Zg=="}) {
    EXPECT_EQ(DecodePaddedBase64(text), std::nullopt) << text;
  }
}

// BIP 173's valid strings whose data are whole bytes or nothing, and one far over its limit of 90.
TEST(Bech32, ReadsValidStrings) {
  const Bech32 empty = testing::Must(DecodeBech32("A12UEL5L"));
  EXPECT_EQ(empty.prefix, "A");
  EXPECT_TRUE(empty.data.empty());
  const Bech32 split =
      testing::Must(DecodeBech32("split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w"));
  EXPECT_EQ(split.prefix, "split");
  EXPECT_EQ(EncodeBech32("split", split.data),
            "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w");
  const std::string longer = Noise(3000);
  EXPECT_EQ(AsText(testing::Must(DecodeBech32(EncodeBech32("age1x", AsBytes(longer)))).data),
            longer);
}

// The case of the prefix is the case of all.
TEST(Bech32, RoundTripInBothCases) {
  for (size_t size = 0; size < 100; ++size) {
    const std::string data = Noise(size);
    for (const std::string prefix : {"age", "AGE-PLUGIN-X-", "age1with1ones"}) {
      const std::string text = EncodeBech32(prefix, AsBytes(data));
      const bool upper = std::isupper(static_cast<unsigned char>(prefix[0])) != 0;
      EXPECT_EQ(std::ranges::any_of(text, [](unsigned char c) { return std::isupper(c) != 0; }),
                upper);
      const Bech32 read = testing::Must(DecodeBech32(text));
      EXPECT_EQ(read.prefix, prefix);
      EXPECT_EQ(AsText(read.data), data);
    }
  }
}

// BIP 173's invalid strings, and one whose padding bits are not zero.
TEST(Bech32, RefusesInvalidStrings) {
  for (const char* text :
       {"", "1",
        "\x20"
        "1nwldj5",
        "\x7f"
        "1axkwrx",
        "\x80"
        "1eym55h",
        "pzry9x0s0muk", "1pzry9x0s0muk", "x1b4n0q5v", "li1dgmt3", "de1lg7wt\xff", "A1G7SGD8",
        "10a06t8", "1qzzfhee", "a12uel5L",
        // Sound checksums, but bits that no byte takes: not zero, and a whole digit of them.
        "age1qpu0j2ex", "age1qdd35qf"}) {
    EXPECT_THAT(DecodeBech32(text), Fails(kInvalid, "")) << text;
  }
}

// The checksum finds every single change, and the error does not quote what may be a secret.
TEST(Bech32, FindsEveryChangedCharacter) {
  const std::string good = EncodeBech32("age", AsBytes(Noise(32)));
  ASSERT_THAT(DecodeBech32(good), IsOk());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = bad[i] == 'q' ? 'p' : 'q';
    const auto result = DecodeBech32(bad);
    EXPECT_THAT(result, Fails(kInvalid, "")) << i;
    EXPECT_EQ(Message(result.status()).find(bad.substr(4, 8)), std::string::npos);
  }
}

}  // namespace
}  // namespace cryptvol::age
