// Headers: what is read, what is refused, and how far the source is read.
#include "age/header.h"

#include "age/base64.h"
#include "tests/age/testing.h"

namespace cryptvol::age {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::kDataLoss;
using testing::kInvalid;
using testing::Must;
using testing::Noise;
using testing::TextSource;

const std::string kMacLine = "--- " + std::string(43, 'A') + "\n";
const std::string kNonce = "nonce of 16 byte";

std::string File(const std::string& stanzas, const std::string& mac_line = kMacLine) {
  return "age-encryption.org/v1\n" + stanzas + mac_line + kNonce;
}

absl::StatusOr<FileStart> Read(const std::string& file) {
  TextSource source(file);
  return ReadFileStart(source);
}

std::vector<Stanza> Examples() {
  std::vector<Stanza> stanzas = {{"a", {}, {}}, {"b", {"!~", "-", "--", "->"}, {1}}};
  for (const size_t size : {47, 48, 49, 96, 5000}) {
    const std::string body = Noise(size);
    stanzas.push_back({"c", {"x"}, {body.begin(), body.end()}});
  }
  return stanzas;
}

// What is built is read again, with its exact bytes and the nonce behind it.
TEST(Header, RoundTrip) {
  const SecretBytes file_key = Must(NewFileKey());
  const std::string bytes = Must(BuildHeader(file_key, Examples()));
  EXPECT_EQ(bytes.size(), HeaderBytes(Examples()));
  const FileStart start = Must(Read(bytes + kNonce));
  EXPECT_EQ(start.header.stanzas, Examples());
  EXPECT_EQ(start.bytes, bytes);
  EXPECT_EQ(AsText(start.nonce), kNonce);
  EXPECT_THAT(VerifyHeader(start, file_key), IsOk());
}

// The payload stays in the source, whatever the steps in which the source gives its bytes.
TEST(Header, ReadsNotOneByteTooMany) {
  const std::string header = Must(BuildHeader(Must(NewFileKey()), Examples()));
  for (const size_t step : {1, 2, 3, 47, 64, 1 << 20}) {
    TextSource source(header + kNonce + "payload", step);
    ASSERT_THAT(ReadFileStart(source), IsOk());
    EXPECT_EQ(source.rest(), "payload");
  }
}

// A file that is cut anywhere before its payload is told from one that is malformed.
TEST(Header, FindsEveryCut) {
  const std::string file = Must(BuildHeader(Must(NewFileKey()), Examples())) + kNonce;
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_THAT(Read(file.substr(0, size)), Fails(kDataLoss, "cut off")) << size;
  }
  EXPECT_THAT(Read(file), IsOk());
}

// An error of the source is passed on.
TEST(Header, PassesOnTheSourcesError) {
  TextSource source("age-encryption.org/v1\n-> a", SIZE_MAX,
                    absl::Status(absl::StatusCode::kUnavailable, "gone"));
  EXPECT_THAT(ReadFileStart(source), Fails(absl::StatusCode::kUnavailable, "gone"));
}

// Anything that the grammar does not allow is refused.
TEST(Header, RefusesMalformed) {
  const std::string a = "-> a\n\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"hello, world\n" + std::string(200, 'x'), "not an age file"},
      {"x", "not an age file"},
      {"age-encryption.org/v2\n" + a + kMacLine + kNonce, "another version"},
      {"age-encryption.org/v1\r\n" + a + kMacLine + kNonce, "another version"},
      {File(""), "no stanza"},
      {File("->\n\n"), "begin with"},
      {File("->a\n\n"), "begin with"},
      {File("-> \n\n"), "not printable"},
      {File("->  a\n\n"), "not printable"},
      {File("-> a \n\n"), "not printable"},
      {File("-> a  b\n\n"), "not printable"},
      {File("-> a\t\n\n"), "not printable"},
      {File("-> \xc3\xa4\n\n"), "not printable"},
      {File("-> a\r\n\n"), "not printable"},
      {File("-> a\n\r\n"), "base64"},
      {File("-> a\nZg==\n"), "base64"},
      {File("-> a\nZh\n"), "base64"},
      {File("-> a\n" + std::string(65, 'A') + "\n\n"), "64 columns"},
      {File("-> a\nAAAA\nAAAA\n"), "no stanza"},
      {File("-> a\n" + std::string(64, 'A') + "\n"), "base64"},
      {File("\n" + a), "no stanza"},
      {File(a, "---\n" + std::string(60, 'A')), "no sound last line"},
      {File(a, "---  " + std::string(42, 'A') + "\n"), "no sound last line"},
      {File(a, "--- " + std::string(42, 'A') + "\n") + "payload", "no sound last line"},
      {File(a, "--- " + std::string(42, 'A') + "B\n"), "no sound last line"},
      {File(a, "--- " + std::string(43, 'A') + "=\n"), "no sound last line"},
      {File(a, "--- " + std::string(43, 'A') + " \n"), "no sound last line"},
  };
  for (const auto& [file, words] : cases) EXPECT_THAT(Read(file), Fails(kInvalid, words)) << file;
}

// Known types are checked before any key is tried: one share and one body of 32 bytes.
TEST(Header, RefusesMalformedKnownStanzas) {
  const std::string b32 = EncodeBase64(AsBytes(Noise(32)));
  const std::string b16 = EncodeBase64(AsBytes(Noise(16)));
  const std::string b33 = EncodeBase64(AsBytes(Noise(33)));
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"-> X25519\n" + b32 + "\n", "0 arguments"},
      {"-> X25519 " + b32 + " x\n" + b32 + "\n", "2 arguments"},
      {"-> X25519 " + b16 + "\n" + b32 + "\n", "share"},
      {"-> X25519 " + b33 + "\n" + b32 + "\n", "share"},
      {"-> X25519 " + b32 + "=\n" + b32 + "\n", "share"},
      {"-> X25519 " + b32 + "\n" + b33 + "\n", "body has 33 bytes"},
      {"-> X25519 " + b32 + "\n" + b16 + "\n", "body has 16 bytes"},
      {"-> scrypt " + b16 + "\n" + b32 + "\n", "1 arguments"},
      {"-> scrypt " + b16 + " 10 x\n" + b32 + "\n", "3 arguments"},
      {"-> scrypt " + b32 + " 10\n" + b32 + "\n", "salt"},
      {"-> scrypt " + b16 + " 10\n" + b33 + "\n", "body has 33 bytes"},
      {"-> scrypt " + b16 + " 10\n" + b32 + "\n-> a\n\n", "beside others"},
      {"-> a\n\n-> scrypt " + b16 + " 10\n" + b32 + "\n", "beside others"},
  };
  for (const auto& [stanzas, words] : cases) {
    EXPECT_THAT(Read(File(stanzas)), Fails(kInvalid, words)) << stanzas;
  }
  for (const char* cost : {"0", "01", "+1", "-1", " 1", "1x", "0x10", "64", "4294967306", ""}) {
    EXPECT_THAT(Read(File("-> scrypt " + b16 + " " + cost + "\n" + b32 + "\n")),
                Fails(kInvalid, ""))
        << cost;
  }
  EXPECT_THAT(Read(File("-> scrypt " + b16 + " 63\n" + b32 + "\n")), IsOk());
}

// 1024 stanzas of 128 arguments are the most; neither is one more read nor written.
TEST(Header, LimitsStanzasAndArguments) {
  const SecretBytes file_key = Must(NewFileKey());
  std::vector<Stanza> stanzas(1024, Stanza{"a", {}, {}});
  stanzas[0].args.assign(127, "x");
  const std::string most = Must(BuildHeader(file_key, stanzas));
  EXPECT_THAT(Read(most + kNonce), IsOk());
  stanzas.push_back({"a", {}, {}});
  EXPECT_THAT(BuildHeader(file_key, stanzas), Fails(kInvalid, "more than 1024 stanzas"));
  std::string more = "age-encryption.org/v1\n";
  for (const Stanza& stanza : stanzas) more += SerializeStanza(stanza);
  EXPECT_THAT(Read(more + kMacLine + kNonce), Fails(kInvalid, "more than 1024 stanzas"));

  const Stanza wide{"a", std::vector<std::string>(128, "x"), {}};
  EXPECT_THAT(BuildHeader(file_key, {{wide}}), Fails(kInvalid, "more than 128 arguments"));
  EXPECT_THAT(Read(File(SerializeStanza(wide))), Fails(kInvalid, "more than 128 arguments"));
  std::string very_wide = "-> a";
  for (int i = 0; i < 300000; ++i) very_wide += " x";
  EXPECT_THAT(Read(File(very_wide + "\n\n")), Fails(kInvalid, "more than 128 arguments"));
}

// A header of exactly 2 MiB passes both ways, one byte more does not, and an endless line ends.
TEST(Header, LimitsBytes) {
  const SecretBytes file_key = Must(NewFileKey());
  std::vector<Stanza> stanzas = {{"a", {"x"}, {}}};
  stanzas[0].args[0].append(kMaxHeaderBytes - HeaderBytes(stanzas), 'x');
  const std::string most = Must(BuildHeader(file_key, stanzas));
  EXPECT_EQ(most.size(), size_t{2097152});
  EXPECT_THAT(Read(most + kNonce), IsOk());
  const std::string text = SerializeStanza(stanzas[0]);
  stanzas[0].args[0] += 'x';
  EXPECT_THAT(BuildHeader(file_key, stanzas), Fails(kInvalid, "larger than 2097152"));
  EXPECT_THAT(Read(File(SerializeStanza(stanzas[0]))), Fails(kInvalid, "larger than 2097152"));
  EXPECT_THAT(Read("age-encryption.org/v1\n-> " + std::string(3 << 20, 'x')),
              Fails(kInvalid, "larger than 2097152"));
}

// What no reader takes is not written.
TEST(Header, DoesNotWriteMalformedStanzas) {
  const SecretBytes file_key = Must(NewFileKey());
  for (const Stanza& stanza : std::vector<Stanza>{{"", {}, {}},
                                                  {"a b", {}, {}},
                                                  {"a", {""}, {}},
                                                  {"a", {"x\n"}, {}},
                                                  {"X25519", {}, {}}}) {
    EXPECT_THAT(BuildHeader(file_key, {{stanza}}), Fails(kInvalid, "")) << stanza.type;
  }
  EXPECT_THAT(BuildHeader(file_key, {}), Fails(kInvalid, "no stanza"));
}

// Another file key, and any changed byte that still parses, is a bad MAC.
TEST(Header, MacCoversEverything) {
  const SecretBytes file_key = Must(NewFileKey());
  const std::string bytes = Must(BuildHeader(file_key, Examples()));
  EXPECT_THAT(VerifyHeader(Must(Read(bytes + kNonce)), Must(NewFileKey())),
              Fails(kDataLoss, "bad header MAC"));
  size_t parsed = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 2);
    const auto start = Read(changed + kNonce);
    if (!start.ok()) continue;
    ++parsed;
    EXPECT_THAT(VerifyHeader(*start, file_key), Fails(kDataLoss, "bad header MAC")) << i;
  }
  EXPECT_GT(parsed, bytes.size() / 2);
}

}  // namespace
}  // namespace cryptvol::age
