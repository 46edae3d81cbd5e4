// Keys and signatures, by themselves and against Debian's minisign.
#include <openssl/crypto.h>

#include "age/base64.h"
#include "minisign/ed25519.h"
#include "minisign/keys.h"
#include "minisign/signature.h"
#include "tests/age/testing.h"

namespace cryptvol::minisign {
namespace {

using age::testing::Fails;
using age::testing::IsOk;
using age::testing::kDataLoss;
using age::testing::kInvalid;
using age::testing::kUnauthenticated;
using age::testing::Must;
using age::testing::Noise;
using age::testing::ReadFile;
using age::testing::ScratchDirectory;
using age::testing::Secret;
using age::testing::Shell;
using age::testing::Succeeded;
using age::testing::Text;
using age::testing::TextSource;
using age::testing::WriteFile;

Digest DigestOf(const std::string& text) { return Must(Blake2b512(AsBytes(text))); }

// The line of base64 in a file, as bytes and back.
std::string KeyBytes(const std::string& file) {
  const size_t begin = file.find('\n') + 1;
  const auto bytes =
      age::DecodePaddedBase64(std::string_view(file).substr(begin, file.size() - begin - 1));
  return std::string(AsText(bytes.value()));
}
std::string KeyFile(const std::string& bytes) {
  return "untrusted comment: x\n" + age::EncodePaddedBase64(AsBytes(bytes)) + "\n";
}

// RFC 8032's second test and RFC 7693's example.
TEST(Primitives, MatchPublishedVectors) {
  const auto seed = age::DecodeBase64("TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs").value();
  const auto key = age::DecodeBase64("PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw").value();
  const SecretBytes secret = Must(SecretBytes::CopyOf(seed));
  const Ed25519Key public_key = Must(Ed25519Public(secret));
  EXPECT_EQ(AsText(public_key), AsText(key));
  const Ed25519Signature signature = Must(Ed25519Sign(secret, AsBytes("\x72")));
  EXPECT_EQ(age::EncodeBase64(signature).substr(0, 24), "kqAJqfDUyrhyDoILX2QlQKKy");
  EXPECT_TRUE(Ed25519Verify(public_key, AsBytes("\x72"), signature));
  EXPECT_FALSE(Ed25519Verify(public_key, AsBytes("\x73"), signature));
  EXPECT_EQ(age::EncodeBase64(DigestOf("abc")).substr(0, 24), "uoClP5gcTQ1qJ5e2nxL26Uwh");
}

// Hashing a stream is hashing its bytes.
TEST(Primitives, HashStreams) {
  const std::string text = Noise(200000);
  TextSource source(text, 777);
  EXPECT_EQ(Must(Blake2b512(source)), DigestOf(text));
}

// Keys are written and read, and each is another.
TEST(Keys, RoundTrip) {
  const SecretKey key = Must(GenerateKey());
  const SecretKey read = Must(ParseSecretKey(Text(Must(SerializeSecretKey(key)))));
  EXPECT_EQ(read.id, key.id);
  EXPECT_TRUE(read.seed.Equals(key.seed));
  EXPECT_EQ(Must(ParsePublicKey(SerializePublicKey(key.public_key))), key.public_key);
  EXPECT_EQ(read.public_key, key.public_key);
  EXPECT_NE(Must(GenerateKey()).public_key, key.public_key);
}

// A public key is taken with its comment, without it, and with CRLF, and in no other form.
TEST(Keys, PublicForms) {
  const SecretKey key = Must(GenerateKey());
  const std::string file = SerializePublicKey(key.public_key);
  const std::string line = file.substr(file.find('\n') + 1);
  EXPECT_THAT(file, ::testing::HasSubstr("minisign public key " + KeyIdText(key.id)));
  for (const std::string& text :
       {line, line.substr(0, line.size() - 1), "untrusted comment: \r\n" + line + "\r\n"}) {
    EXPECT_EQ(Must(ParsePublicKey(text)), key.public_key);
  }
  std::string legacy = KeyBytes(file);
  legacy[1] = 'D';
  for (const std::string& text : {std::string(), file + line, "comment\n" + line, " " + line,
                                  line.substr(1), KeyFile(legacy), KeyFile(KeyBytes(file) + "x")}) {
    EXPECT_THAT(ParsePublicKey(text), Fails(kInvalid, "public key")) << text;
  }
}

// Secret keys of other kinds, and damaged ones, are refused; no error quotes one.
TEST(Keys, SecretKeysAreChecked) {
  const std::string good = KeyBytes(Text(Must(SerializeSecretKey(Must(GenerateKey())))));
  const auto with = [&good](size_t at, std::string_view bytes) {
    return KeyFile(std::string(good).replace(at, bytes.size(), bytes));
  };
  EXPECT_THAT(ParseSecretKey(KeyFile(good)), IsOk());
  EXPECT_THAT(ParseSecretKey(with(0, "ED")), Fails(kInvalid, "algorithm"));
  EXPECT_THAT(ParseSecretKey(with(4, "B3")), Fails(kInvalid, "algorithm"));
  EXPECT_THAT(ParseSecretKey(with(2, "Ar")), Fails(kInvalid, "encrypted in a way"));
  EXPECT_THAT(ParseSecretKey(with(70, "xxxx")), Fails(kDataLoss, "damaged"));
  EXPECT_THAT(ParseSecretKey(with(100, "xxxx")), Fails(kDataLoss, "damaged"));
  EXPECT_THAT(ParseSecretKey(KeyFile(good + "x")), Fails(kInvalid, "158 bytes"));
  EXPECT_THAT(ParseSecretKey("x"), Fails(kInvalid, "158 bytes"));
  EXPECT_THAT(ParseSecretKey(""), Fails(kInvalid, "not a minisign secret key"));
}

// An encrypted secret key, made as minisign makes them but for a cheaper KDF.
std::string EncryptedKey(const SecretKey& key, std::string_view passphrase, uint64_t operations,
                         uint64_t memory) {
  std::string bytes = KeyBytes(Text(Must(SerializeSecretKey(key))));
  bytes.replace(2, 2, "Sc").replace(6, 32, std::string(32, 's'));
  for (size_t i = 0; i < 8; ++i) {
    bytes[38 + i] = static_cast<char>(operations >> 8 * i);
    bytes[46 + i] = static_cast<char>(memory >> 8 * i);
  }
  std::vector<uint8_t> stream(104);
  // 16 MiB and 2^19 operations are N = 2^14, r = 8, p = 1.
  EXPECT_THAT(
      age::Scrypt(AsBytes(passphrase), AsBytes(std::string(32, 's')), {.n = 1 << 14}, stream),
      IsOk());
  for (size_t i = 0; i < stream.size(); ++i) {
    bytes[54 + i] = static_cast<char>(static_cast<uint8_t>(bytes[54 + i]) ^ stream[i]);
  }
  return KeyFile(bytes);
}

// An encrypted key opens with its passphrase; without one, or with another, that is what is said.
TEST(Keys, EncryptedOnesNeedTheirPassphrase) {
  const SecretKey key = Must(GenerateKey());
  const std::string file = EncryptedKey(key, "swordfish", 1 << 19, 1 << 24);
  const SecretBytes right = Secret("swordfish");
  const SecretBytes wrong = Secret("marlin");
  const SecretKey opened = Must(ParseSecretKey(file, &right));
  EXPECT_EQ(opened.id, key.id);
  EXPECT_TRUE(opened.seed.Equals(key.seed));
  EXPECT_THAT(ParseSecretKey(file, &wrong), Fails(kUnauthenticated, "passphrase"));
  EXPECT_THAT(ParseSecretKey(file),
              Fails(absl::StatusCode::kFailedPrecondition, "no passphrase was given"));
}

// A key that asks for more memory or work than minisign's own is refused before any is spent.
TEST(Keys, EncryptedOnesAreBounded) {
  const SecretKey key = Must(GenerateKey());
  const SecretBytes passphrase = Secret("swordfish");
  for (const auto& [operations, memory] : std::vector<std::pair<uint64_t, uint64_t>>{
           {(1 << 25) + 1, 1 << 24}, {1 << 19, (1 << 30) + 1}, {UINT64_MAX, UINT64_MAX}}) {
    EXPECT_THAT(ParseSecretKey(EncryptedKey(key, "swordfish", operations, memory), &passphrase),
                Fails(kInvalid, "more work or memory"));
  }
}

class Signatures : public ::testing::Test {
 protected:
  std::string Signed(const std::string& text) {
    return SerializeSignature(
        Must(Sign(key_, DigestOf(text), {.untrusted = "hello", .trusted = "time:1"})));
  }
  absl::Status Check(const std::string& text, const std::string& signature) {
    CV_ASSIGN_OR_RETURN(const Signature parsed, ParseSignature(signature));
    return Verify(key_.public_key, DigestOf(text), parsed);
  }
  const SecretKey key_ = Must(GenerateKey());
};

// What was signed verifies, and nothing else does.
TEST_F(Signatures, VerifyWhatWasSigned) {
  const std::string signature = Signed("manifest");
  EXPECT_THAT(Check("manifest", signature), IsOk());
  EXPECT_THAT(Check("manifesto", signature), Fails(kUnauthenticated, "does not fit"));
  const Signature parsed = Must(ParseSignature(signature));
  EXPECT_EQ(parsed.untrusted_comment, "hello");
  EXPECT_EQ(parsed.trusted_comment, "time:1");
  EXPECT_THAT(Verify(Must(GenerateKey()).public_key, DigestOf("manifest"), parsed),
              Fails(kUnauthenticated, "not by"));
  PublicKey forged = Must(GenerateKey()).public_key;
  forged.id = key_.id;
  EXPECT_THAT(Verify(forged, DigestOf("manifest"), parsed),
              Fails(kUnauthenticated, "does not fit"));
}

// The trusted comment is signed, the untrusted one is not.
TEST_F(Signatures, CoverTheTrustedComment) {
  std::string changed = Signed("manifest");
  changed.replace(changed.find("time:1"), 6, "time:2");
  EXPECT_THAT(Check("manifest", changed), Fails(kUnauthenticated, "comment was altered"));
  changed = Signed("manifest");
  changed.replace(changed.find("hello"), 5, "howdy");
  EXPECT_THAT(Check("manifest", changed), IsOk());
}

// A changed character of either signature never passes.
TEST_F(Signatures, FindEveryChange) {
  const std::string good = Signed("manifest");
  const size_t begin = good.find('\n') + 1;
  for (size_t i = begin; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = bad[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(Check("manifest", bad).ok()) << i;
  }
}

// Anything but four sound lines is refused, a legacy signature with the reason.
TEST_F(Signatures, RefuseOtherForms) {
  const std::string good = Signed("manifest");
  const size_t second = good.find('\n') + 1;
  std::string legacy = good;
  legacy.replace(second, 3, "RWQ");  // "Ed" and the first bits of the key id
  EXPECT_THAT(ParseSignature(legacy), Fails(kInvalid, "legacy minisign signature"));
  for (const std::string& text :
       {std::string(), good + "more\n", good.substr(0, good.size() - 2), good.substr(1),
        "\n" + good, good.substr(0, second), good + std::string(9000, 'x'),
        std::string(good).replace(second, 4, "AAAA"),
        std::string(good).replace(good.find("\ntrusted"), 9, "\nTrusted "),
        std::string(good).replace(second, 1, " ")}) {
    EXPECT_THAT(ParseSignature(text), Fails(kInvalid, "")) << text;
  }
  EXPECT_THAT(ParseSignature(good.substr(0, good.size() - 1)), IsOk());
}

// Comments cannot begin lines of their own, nor write to a terminal; tabs are minisign's own.
TEST_F(Signatures, CommentsAreOneLine) {
  for (const std::string comment : {"a\nb", "a\rb", "\x1b[2J"}) {
    EXPECT_THAT(Sign(key_, DigestOf("x"), {.trusted = comment}), Fails(kInvalid, "comment"));
    EXPECT_THAT(Sign(key_, DigestOf("x"), {.untrusted = comment}), Fails(kInvalid, "comment"));
  }
  const std::string good = Signed("manifest");
  for (const std::string_view comment : {"hello", "time:1"}) {
    for (const std::string_view control : {"\r\r", "\x1b[2J", "\x7f"}) {
      std::string bad = good;
      bad.insert(bad.find(comment) + comment.size(), control);
      EXPECT_THAT(ParseSignature(bad), Fails(kInvalid, "control characters"));
    }
  }
  EXPECT_THAT(Sign(key_, DigestOf("x"), {.trusted = "a\tb"}), IsOk());
  EXPECT_THAT(Sign(key_, DigestOf("x"), {.trusted = std::string(1025, 'x')}),
              Fails(kInvalid, "1024"));
}

// The program takes our keys and signatures.
TEST(Program, TakesOurs) {
  const ScratchDirectory directory;
  const SecretKey key = Must(GenerateKey());
  const std::string text = Noise(100000);
  WriteFile(directory / "file", text);
  WriteFile(directory / "key.pub", SerializePublicKey(key.public_key));
  WriteFile(directory / "key", Text(Must(SerializeSecretKey(key))));
  WriteFile(directory / "file.minisig",
            SerializeSignature(Must(Sign(key, DigestOf(text), {.trusted = "time:1"}))));
  const CommandResult verified =
      Shell(fmt::format("minisign -V -H -p {} -m {}", directory / "key.pub", directory / "file"));
  EXPECT_THAT(verified, Succeeded());
  EXPECT_THAT(verified.out, ::testing::HasSubstr("Trusted comment: time:1"));
  EXPECT_THAT(Shell(fmt::format("minisign -S -s {} -m {} -x {}", directory / "key",
                                directory / "file", directory / "theirs")),
              Succeeded());
  EXPECT_THAT(
      Verify(key.public_key, DigestOf(text), Must(ParseSignature(ReadFile(directory / "theirs")))),
      IsOk());
}

// We take its keys and signatures, but not the legacy ones.
TEST(Program, IsTakenByUs) {
  const ScratchDirectory directory;
  const std::string text = Noise(1000);
  WriteFile(directory / "file", text);
  const std::string keys = fmt::format("-s {} ", directory / "key");
  ASSERT_THAT(Shell("minisign -G -W -p " + (directory / "key.pub") + " " + keys), Succeeded());
  const PublicKey public_key = Must(ParsePublicKey(ReadFile(directory / "key.pub")));
  const SecretKey secret_key = Must(ParseSecretKey(ReadFile(directory / "key")));
  EXPECT_EQ(secret_key.public_key, public_key);
  ASSERT_THAT(Shell("minisign -S " + keys + "-t 'time:1' -m " + (directory / "file")), Succeeded());
  const Signature signature = Must(ParseSignature(ReadFile(directory / "file.minisig")));
  EXPECT_EQ(signature.trusted_comment, "time:1");
  EXPECT_THAT(Verify(public_key, DigestOf(text), signature), IsOk());
  ASSERT_THAT(Shell("minisign -S -l " + keys + "-m " + (directory / "file")), Succeeded());
  EXPECT_THAT(ParseSignature(ReadFile(directory / "file.minisig")), Fails(kInvalid, "legacy"));
}

}  // namespace
}  // namespace cryptvol::minisign
