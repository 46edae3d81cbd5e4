// Debian's age opens what we write, and we open what it writes.
#include <sys/stat.h>

#include "age/file.h"
#include "age/key_file.h"
#include "age/scrypt.h"
#include "tests/age/testing.h"

namespace cryptvol::age {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::kUnauthenticated;
using testing::List;
using testing::Must;
using testing::Noise;
using testing::ReadFile;
using testing::Secret;
using testing::Shell;
using testing::Succeeded;
using testing::TextRange;
using testing::TextSink;
using testing::TextSource;
using testing::WriteFile;

// Around the borders of chunks and of batches.
const std::vector<size_t> kSizes = {0, 1, 65535, 65536, 65537, 131072, 524288, 524289, 3000000};

class AgeProgram : public ::testing::Test {
 protected:
  AgeProgram() {
    EXPECT_THAT(Shell("age-keygen -o " + key_file_), Succeeded());
    identities_ = Must(ParseIdentitiesFile(ReadFile(key_file_), {}));
    std::string recipient = Shell("age-keygen -y " + key_file_).out;
    recipient_ = recipient.substr(0, recipient.find('\n'));
  }

  Recipients OurRecipients() { return List<Recipient>(Must(ParseRecipient(recipient_, {}))); }

  std::string Encrypt(const std::string& plain, const Recipients& recipients,
                      const EncryptOptions& options) {
    TextSource source(plain);
    TextSink sink;
    EXPECT_THAT(EncryptToRecipients(source, recipients, options, sink), IsOk());
    return sink.text;
  }

  // What we find in a file of age's.
  static absl::StatusOr<std::string> Decrypt(const std::string& file,
                                             const Identities& identities) {
    TextSource source(file);
    TextSink sink;
    CV_RETURN_IF_ERROR(DecryptFile(source, identities, sink));
    return sink.text;
  }

  // What age finds in a file of ours.
  std::string AgeDecrypts(const std::string& file) {
    WriteFile(directory_ / "theirs.age", file);
    EXPECT_THAT(Shell(fmt::format("age -d -i {} -o {} {}", key_file_, directory_ / "theirs",
                                  directory_ / "theirs.age")),
                Succeeded());
    return ReadFile(directory_ / "theirs");
  }

  // age asks for passphrases on a terminal only.
  CommandResult OnTerminal(const std::string& passphrase, int times, const std::string& command) {
    std::string typed;
    for (int i = 0; i < times; ++i) typed += passphrase + "\\n";
    return Shell(fmt::format("printf '{}' | script -qec '{}' /dev/null", typed, command));
  }

  testing::ScratchDirectory directory_;
  std::string key_file_ = directory_ / "key.txt";
  Identities identities_;
  std::string recipient_;
};

// All sizes, both forms, with and without our own stanzas.
TEST_F(AgeProgram, OpensOurs) {
  for (const size_t size : kSizes) {
    const std::string plain = Noise(size);
    EXPECT_TRUE(AgeDecrypts(Encrypt(plain, OurRecipients(), {})) == plain) << size;
    EXPECT_TRUE(AgeDecrypts(Encrypt(plain, OurRecipients(), {.armor = true})) == plain) << size;
    const EncryptOptions padded = {
        .header = {.metadata = std::vector<uint8_t>{'h', 'i'}, .pad = true}, .threads = 3};
    EXPECT_TRUE(AgeDecrypts(Encrypt(plain, OurRecipients(), padded)) == plain) << size;
  }
}

// The other way round, by streams and by ranges.
TEST_F(AgeProgram, IsOpenedByUs) {
  for (const size_t size : kSizes) {
    const std::string plain = Noise(size);
    WriteFile(directory_ / "plain", plain);
    for (const std::string armor : {"", "-a"}) {
      ASSERT_THAT(Shell(fmt::format("age {} -r {} -o {} {}", armor, recipient_,
                                    directory_ / "ours.age", directory_ / "plain")),
                  Succeeded());
      const std::string file = ReadFile(directory_ / "ours.age");
      EXPECT_TRUE(Decrypt(file, identities_).value() == plain) << size;
      if (!armor.empty()) continue;
      const OpenedRange range = Must(OpenRange(std::make_shared<TextRange>(file), identities_));
      EXPECT_EQ(range.plaintext->size(), size);
    }
  }
}

// Several recipients in one file of ours, each of which opens it with age.
TEST_F(AgeProgram, OpensForEveryRecipient) {
  const std::string other = directory_ / "other.txt";
  ASSERT_THAT(Shell("age-keygen -o " + other), Succeeded());
  const std::string both = recipient_ + "\n" + Shell("age-keygen -y " + other).out;
  const std::string file = Encrypt("hello", Must(ParseRecipientsFile(both, {})), {});
  EXPECT_EQ(AgeDecrypts(file), "hello");
  key_file_ = other;
  EXPECT_EQ(AgeDecrypts(file), "hello");
}

// Recipients change while the payload stays in its place: who is out is out for age too, and who is
// in opens it.
TEST_F(AgeProgram, OpensRewrappedFiles) {
  const auto old = Must(X25519Identity::Generate());
  const std::string file =
      Encrypt("hello", List<Recipient>(std::make_unique<X25519Recipient>(old->recipient())),
              {.header = {.pad = true}});
  TextSource source(file);
  Identities old_identity;
  old_identity.push_back(Must(ParseIdentity(testing::Text(Must(old->text())), {})));
  const OpenedFile opened = Must(OpenFile(source, old_identity));
  const std::string header = Must(MakeHeader(opened.file_key, OurRecipients(), {.pad = true}));
  ASSERT_EQ(header.size(), opened.start.bytes.size());
  const std::string rewrapped = header + file.substr(header.size());
  EXPECT_EQ(AgeDecrypts(rewrapped), "hello");
  EXPECT_THAT(Decrypt(rewrapped, old_identity), Fails(kUnauthenticated, "no identity matched"));
}

// A passphrase works both ways.
TEST_F(AgeProgram, SharesPassphrases) {
  WriteFile(directory_ / "plain", "hello");
  ASSERT_THAT(
      OnTerminal("correct horse", 2,
                 fmt::format("age -p -o {} {}", directory_ / "p.age", directory_ / "plain")),
      Succeeded());
  const auto identity = [](std::string_view passphrase) {
    return List<Identity>(Must(ScryptIdentity::New(Secret(passphrase))));
  };
  const std::string file = ReadFile(directory_ / "p.age");
  EXPECT_EQ(Decrypt(file, identity("correct horse")).value(), "hello");
  EXPECT_THAT(Decrypt(file, identity("battery staple")), Fails(kUnauthenticated, "passphrase"));

  WriteFile(
      directory_ / "q.age",
      Encrypt("hello", List<Recipient>(Must(ScryptRecipient::New(Secret("swordfish"), 10))), {}));
  ASSERT_THAT(OnTerminal("swordfish", 1,
                         fmt::format("age -d -o {} {}", directory_ / "q", directory_ / "q.age")),
              Succeeded());
  EXPECT_EQ(ReadFile(directory_ / "q"), "hello");
}

// A key file that age encrypted with a passphrase serves as an identity.
TEST_F(AgeProgram, SharesEncryptedKeyFiles) {
  ASSERT_THAT(OnTerminal("hunter2", 2,
                         fmt::format("age -p -a -o {} {}", directory_ / "key.age", key_file_)),
              Succeeded());
  const std::string content = ReadFile(directory_ / "key.age");
  ASSERT_TRUE(IsEncryptedKeyFile(content));
  const SecretBytes plain =
      Must(DecryptKeyFile(content, List<Identity>(Must(ScryptIdentity::New(Secret("hunter2"))))));
  const Identities identities = Must(ParseIdentitiesFile(AsText(plain.span()), {}));
  EXPECT_EQ(Decrypt(Encrypt("hello", OurRecipients(), {}), identities).value(), "hello");
}

// A key that we make is one for age.
TEST_F(AgeProgram, TakesOurKeys) {
  const auto identity = Must(X25519Identity::Generate());
  WriteFile(directory_ / "made.txt", testing::Text(Must(identity->text())) + "\n");
  EXPECT_EQ(Shell("age-keygen -y " + (directory_ / "made.txt")).out,
            identity->recipient().text() + "\n");
}

// age says of a file that was cut at a chunk's border, or changed, that it is; so do we.
TEST_F(AgeProgram, AgreesOnDamage) {
  const std::string file = Encrypt(Noise(200000), OurRecipients(), {});
  const size_t header = file.size() - 200000 - 4 * 16;
  std::string changed = file;
  changed[header + 70000] = static_cast<char>(changed[header + 70000] ^ 1);
  for (const std::string& bad : {file.substr(0, header + 2 * 65552), changed, file + "x"}) {
    WriteFile(directory_ / "bad.age", bad);
    EXPECT_FALSE(
        Shell(fmt::format("age -d -i {} -o /dev/null {}", key_file_, directory_ / "bad.age")).ok());
    EXPECT_THAT(Decrypt(bad, identities_), Fails(testing::kDataLoss, ""));
  }
}

}  // namespace
}  // namespace cryptvol::age
