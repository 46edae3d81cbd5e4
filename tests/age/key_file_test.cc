// Files of keys, as people write them.
#include "age/key_file.h"

#include "age/bech32.h"
#include "age/file.h"
#include "age/scrypt.h"
#include "tests/age/testing.h"

namespace cryptvol::age {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::kDataLoss;
using testing::kInvalid;
using testing::kUnauthenticated;
using testing::List;
using testing::Must;
using testing::Secret;
using testing::Text;
using testing::TextSink;
using testing::TextSource;

const std::string kIdentity =
    "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
const std::string kRecipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

std::string PluginRecipientText(const std::string& name) {
  return EncodeBech32("age1" + name, AsBytes("data"));
}

// Comments and empty lines are skipped, lines may end with CRLF, the last may lack its end, and
// plugins' keys stand beside native ones.
TEST(KeyFile, ReadsOneKeyALine) {
  const std::string recipients =
      "# mine\n\n" + kRecipient + "\r\n\r\n#x\n" + PluginRecipientText("pq") + "\n" + kRecipient;
  EXPECT_EQ(Must(ParseRecipientsFile(recipients, {})).size(), size_t{3});
  const std::string identities = "# created: today\n" + kIdentity + "\n\n" +
                                 EncodeBech32("AGE-PLUGIN-PQ-", AsBytes("data")) + "\n";
  EXPECT_EQ(Must(ParseIdentitiesFile(identities, {})).size(), size_t{2});
}

// An error names the line and its fault, but nothing that stands there: it may be a secret.
TEST(KeyFile, ErrorsNameTheLineAndNoSecret) {
  std::string damaged = kIdentity;
  damaged[30] = damaged[30] == 'Q' ? 'P' : 'Q';
  const std::vector<std::pair<std::string, std::string>> identities = {
      {"#\n\n" + damaged, "line 3 of the identities file: its checksum is wrong"},
      {kIdentity + "\n " + kIdentity, "line 2 of the identities file: it is not an identity"},
      {kRecipient, "line 1 of the identities file: it is a recipient, which is public"},
      {"-----BEGIN OPENSSH PRIVATE KEY-----", "SSH keys are not supported"},
      {"AGE-SECRET-KEY-PQ-1GFPYYSJZ", "age-plugin-pq -identity"},
      {"# nothing\n", "has no key"},
      {"", "has no key"},
      {std::string(2 << 20, '\n'), "larger than 1048576 bytes"}};
  for (const auto& [content, words] : identities) {
    const auto result = ParseIdentitiesFile(content, {});
    EXPECT_THAT(result, Fails(kInvalid, words));
    EXPECT_EQ(Message(result.status()).find("GFPYYSJZ"), std::string::npos);
  }
  const std::vector<std::pair<std::string, std::string>> recipients = {
      {kIdentity, "line 1 of the recipients file: it is an identity, which is secret"},
      {"ssh-ed25519 AAAA", "SSH keys are not supported"},
      {"#\nage1xyz", "line 2 of the recipients file: it is cut short"},
      {"", "has no key"}};
  for (const auto& [content, words] : recipients) {
    const auto result = ParseRecipientsFile(content, {});
    EXPECT_THAT(result, Fails(kInvalid, words));
    EXPECT_EQ(Message(result.status()).find("GFPYYSJZ"), std::string::npos);
  }
}

std::string Encrypted(const std::string& content, bool armor) {
  TextSource source(content);
  TextSink sink;
  Recipients recipients = List<Recipient>(Must(ScryptRecipient::New(Secret("swordfish"), 4)));
  EXPECT_THAT(EncryptToRecipients(source, recipients, {.armor = armor}, sink), IsOk());
  return sink.text;
}

Identities Passphrase(std::string_view passphrase) {
  return List<Identity>(Must(ScryptIdentity::New(Secret(passphrase))));
}

// A file of identities under a passphrase is known for one, in both forms, and opens.
TEST(KeyFile, EncryptedOnesOpen) {
  for (const bool armor : {false, true}) {
    const std::string content = (armor ? "\n" : "") + Encrypted(kIdentity + "\n", armor);
    ASSERT_TRUE(IsEncryptedKeyFile(content));
    EXPECT_EQ(Text(Must(DecryptKeyFile(content, Passphrase("swordfish")))), kIdentity + "\n");
    EXPECT_THAT(DecryptKeyFile(content, Passphrase("marlin")), Fails(kUnauthenticated, ""));
    EXPECT_THAT(DecryptKeyFile(content.substr(0, content.size() - 60), Passphrase("swordfish")),
                Fails(kDataLoss, ""));
  }
  EXPECT_FALSE(IsEncryptedKeyFile(kIdentity));
  EXPECT_FALSE(IsEncryptedKeyFile("\n\n"));
}

// What cannot be a key file for its size is not decrypted into locked memory.
TEST(KeyFile, EncryptedOnesAreBounded) {
  const std::string content = Encrypted(std::string(1048577, '\n'), false);
  EXPECT_THAT(DecryptKeyFile(content, Passphrase("swordfish")),
              Fails(absl::StatusCode::kOutOfRange, "more than 1048576 bytes"));
}

}  // namespace
}  // namespace cryptvol::age
