// Who opens a file, and how those who do not are told why.
#include "age/recipient.h"

#include "age/base64.h"
#include "age/file.h"
#include "age/scrypt.h"
#include "age/x25519.h"
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
using testing::TextSource;

// The example keys of the format's specification.
constexpr std::string_view kExampleIdentity =
    "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
constexpr std::string_view kExampleRecipient =
    "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
constexpr int kCheap = 4;

std::unique_ptr<X25519Recipient> RecipientOf(const X25519Identity& identity) {
  return std::make_unique<X25519Recipient>(identity.recipient());
}
std::unique_ptr<ScryptRecipient> PassphraseRecipient(std::string_view passphrase) {
  return Must(ScryptRecipient::New(Secret(passphrase), kCheap));
}
std::unique_ptr<ScryptIdentity> Passphrase(std::string_view passphrase, int most = kCheap) {
  return Must(ScryptIdentity::New(Secret(passphrase), most));
}

FileStart Start(const SecretBytes& file_key, const Recipients& recipients) {
  TextSource source(Must(MakeHeader(file_key, recipients, {})) + std::string(16, 'n'));
  return Must(ReadFileStart(source));
}

// Stands for a plugin that speaks of labels, or one that fails.
class LabelledRecipient : public Recipient {
 public:
  explicit LabelledRecipient(std::set<std::string> labels) : labels_(std::move(labels)) {}
  absl::StatusOr<WrappedKey> Wrap(const SecretBytes&) override {
    return WrappedKey{{{"labelled", {}, {}}}, labels_};
  }

 private:
  std::set<std::string> labels_;
};
class FailingIdentity : public Identity {
 public:
  absl::StatusOr<std::optional<SecretBytes>> Unwrap(std::span<const Stanza>) override {
    return FailedPrecondition("no such plugin");
  }
};

// The specification's identity has the specification's recipient, and is written as it was read.
TEST(X25519, MatchesThePublishedKeys) {
  const auto identity = Must(X25519Identity::Parse(kExampleIdentity));
  EXPECT_EQ(identity->recipient().text(), kExampleRecipient);
  EXPECT_EQ(Text(Must(identity->text())), kExampleIdentity);
  EXPECT_EQ(Must(X25519Recipient::Parse(kExampleRecipient))->text(), kExampleRecipient);
}

// Keys in the wrong case or place are refused, and the error does not quote them.
TEST(X25519, RefusesOtherTexts) {
  std::string lower(kExampleIdentity);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string upper(kExampleRecipient);
  std::ranges::transform(upper, upper.begin(), [](unsigned char c) { return std::toupper(c); });
  for (const std::string& text : {lower, std::string(kExampleRecipient), std::string("x"),
                                  std::string(kExampleIdentity) + " "}) {
    const auto result = X25519Identity::Parse(text);
    EXPECT_THAT(result, Fails(kInvalid, "")) << text;
    EXPECT_EQ(Message(result.status()).find("gfpyysjzgfpyy"), std::string::npos);
  }
  for (const std::string& text : {upper, std::string(kExampleIdentity), std::string("")}) {
    EXPECT_THAT(X25519Recipient::Parse(text), Fails(kInvalid, "")) << text;
  }
}

// Each of several recipients gets the same file key.
TEST(Unwrap, EveryRecipientOpens) {
  const auto a = Must(X25519Identity::Generate());
  const auto b = Must(X25519Identity::Generate());
  const SecretBytes file_key = Must(NewFileKey());
  const FileStart start = Start(file_key, List<Recipient>(RecipientOf(*a), RecipientOf(*b)));
  for (const auto* identity : {&a, &b}) {
    Identities identities;
    identities.push_back(Must(X25519Identity::Parse(Text(Must((*identity)->text())))));
    EXPECT_TRUE(Must(UnwrapFileKey(start, identities)).Equals(file_key));
  }
}

// Ephemeral keys are new each time: equal headers would tell that files belong together.
TEST(Unwrap, NothingRepeatsBetweenFiles) {
  const auto a = Must(X25519Identity::Generate());
  const SecretBytes file_key = Must(NewFileKey());
  const auto recipients = List<Recipient>(RecipientOf(*a), RecipientOf(*a));
  const FileStart one = Start(file_key, recipients);
  const FileStart two = Start(file_key, recipients);
  std::set<std::string> shares;
  for (const FileStart* start : {&one, &two}) {
    for (const Stanza& stanza : start->header.stanzas) shares.insert(stanza.args[0]);
  }
  EXPECT_EQ(shares.size(), size_t{4});
  EXPECT_FALSE(Must(NewFileKey()).Equals(Must(NewFileKey())));
  EXPECT_NE(Must(NewNonce()), Must(NewNonce()));
}

// A stranger's key is no match; neither is the right one when a share or body was damaged.
TEST(Unwrap, TellsThatNothingMatched) {
  const auto a = Must(X25519Identity::Generate());
  const SecretBytes file_key = Must(NewFileKey());
  FileStart start = Start(file_key, List<Recipient>(RecipientOf(*a)));
  EXPECT_THAT(UnwrapFileKey(start, List<Identity>(Must(X25519Identity::Generate()))),
              Fails(kUnauthenticated, "no identity matched any of the file's 1 stanzas"));
  EXPECT_THAT(UnwrapFileKey(start, List<Identity>(Passphrase("x"))),
              Fails(kUnauthenticated, "no identity matched"));
  Identities right;
  right.push_back(Must(X25519Identity::Parse(Text(Must(a->text())))));
  start.header.stanzas[0].body[5] ^= 1;
  EXPECT_THAT(UnwrapFileKey(start, right), Fails(kUnauthenticated, "its header is damaged"));
  EXPECT_THAT(UnwrapFileKey(start, {}), Fails(kInvalid, "no identity was given"));
}

// When a key fits but the header was changed behind it, that is what is said.
TEST(Unwrap, TellsAnAlteredHeader) {
  auto a = Must(X25519Identity::Generate());
  FileStart start = Start(Must(NewFileKey()), List<Recipient>(RecipientOf(*a)));
  start.bytes.replace(0, 3, "AGE");
  EXPECT_THAT(UnwrapFileKey(start, List<Identity>(std::move(a))),
              Fails(kDataLoss, "bad header MAC"));
}

// A share of low order, whose secret anybody knows, is refused.
TEST(Unwrap, RefusesALowOrderShare) {
  FileStart start;
  start.header.stanzas = {{"X25519", {EncodeBase64(PublicKey{})}, std::vector<uint8_t>(32)}};
  EXPECT_THAT(UnwrapFileKey(start, List<Identity>(Must(X25519Identity::Generate()))),
              Fails(kInvalid, "low order"));
  X25519Recipient recipient{PublicKey{}};
  EXPECT_THAT(recipient.Wrap(Must(NewFileKey())), Fails(kInvalid, "low order"));
}

// A plugin that fails does not keep the next identity from opening; when none does, it is named.
TEST(Unwrap, APluginsFailureWaits) {
  auto a = Must(X25519Identity::Generate());
  const SecretBytes file_key = Must(NewFileKey());
  const FileStart start = Start(file_key, List<Recipient>(RecipientOf(*a)));
  EXPECT_THAT(UnwrapFileKey(start, List<Identity>(std::make_unique<FailingIdentity>(),
                                                  Must(X25519Identity::Generate()))),
              Fails(absl::StatusCode::kFailedPrecondition, "no such plugin"));
  EXPECT_TRUE(
      Must(UnwrapFileKey(start, List<Identity>(std::make_unique<FailingIdentity>(), std::move(a))))
          .Equals(file_key));
}

// The right passphrase opens, another does not, and the next in a list is tried.
TEST(Scrypt, OpensWithThePassphrase) {
  const SecretBytes file_key = Must(NewFileKey());
  const FileStart start = Start(file_key, List<Recipient>(PassphraseRecipient("swordfish")));
  EXPECT_TRUE(
      Must(UnwrapFileKey(start, List<Identity>(Passphrase("marlin"), Passphrase("swordfish"))))
          .Equals(file_key));
  EXPECT_THAT(UnwrapFileKey(start, List<Identity>(Passphrase("marlin"))),
              Fails(kUnauthenticated, "none that was given opens it"));
}

// The cost that a file asks for is bounded before anything is computed, and unwise ones are not
// made.
TEST(Scrypt, BoundsTheCost) {
  const FileStart start = Start(Must(NewFileKey()), List<Recipient>(PassphraseRecipient("x")));
  EXPECT_THAT(UnwrapFileKey(start, List<Identity>(Passphrase("x", kCheap - 1))),
              Fails(kInvalid, "work factor of 4"));
  FileStart huge = start;
  huge.header.stanzas[0].args[1] = "63";
  EXPECT_THAT(UnwrapFileKey(huge, List<Identity>(Must(ScryptIdentity::New(Secret("x"))))),
              Fails(kInvalid, "up to 20 is accepted"));
  EXPECT_THAT(ScryptRecipient::New(Secret("x"), 0), Fails(kInvalid, "1 to 30"));
  EXPECT_THAT(ScryptRecipient::New(Secret("x"), 31), Fails(kInvalid, "1 to 30"));
  EXPECT_THAT(ScryptRecipient::New(SecretBytes()), Fails(kInvalid, "empty"));
  EXPECT_THAT(ScryptIdentity::New(SecretBytes()), Fails(kInvalid, "empty"));
}

// A passphrase stands alone: no key, no second passphrase, no metadata, no padding beside it.
TEST(Scrypt, StandsAlone) {
  const SecretBytes file_key = Must(NewFileKey());
  const auto a = Must(X25519Identity::Generate());
  EXPECT_THAT(MakeHeader(file_key, List<Recipient>(PassphraseRecipient("x"), RecipientOf(*a)), {}),
              Fails(kInvalid, "a passphrase stands alone"));
  EXPECT_THAT(
      MakeHeader(file_key, List<Recipient>(PassphraseRecipient("x"), PassphraseRecipient("y")), {}),
      Fails(kInvalid, "a passphrase stands alone"));
  EXPECT_THAT(MakeHeader(file_key, List<Recipient>(PassphraseRecipient("x")), {.pad = true}),
              Fails(kInvalid, "nothing beside a passphrase"));
  EXPECT_THAT(MakeHeader(file_key, List<Recipient>(PassphraseRecipient("x")),
                         {.metadata = std::vector<uint8_t>{1}}),
              Fails(kInvalid, "nothing beside a passphrase"));
}

// Recipients go together when their labels are the same set, and not otherwise.
TEST(Labels, MustBeEqual) {
  using Labels = std::set<std::string>;
  const SecretBytes file_key = Must(NewFileKey());
  const auto wrap = [&](const Labels& one, const Labels& two) {
    return WrapForAll(List<Recipient>(std::make_unique<LabelledRecipient>(one),
                                      std::make_unique<LabelledRecipient>(two)),
                      file_key);
  };
  EXPECT_THAT(wrap({"postquantum"}, {"postquantum"}), IsOk());
  EXPECT_THAT(wrap({}, {}), IsOk());
  EXPECT_THAT(wrap({"postquantum"}, {}), Fails(kInvalid, "cannot be mixed"));
  EXPECT_THAT(wrap({}, {"postquantum"}), Fails(kInvalid, "cannot be mixed"));
  EXPECT_THAT(wrap({"a", "b"}, {"a"}), Fails(kInvalid, "cannot be mixed"));
  EXPECT_THAT(WrapForAll({}, file_key), Fails(kInvalid, "no recipient"));
}

}  // namespace
}  // namespace cryptvol::age
