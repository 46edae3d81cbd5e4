// Verifying and restoring: what is altered is found, and nothing of it gets a name.
#include "snapshot/restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "age/file.h"
#include "age/payload.h"
#include "snapshot/drill.h"
#include "snapshot/metadata.h"
#include "snapshot/verify.h"
#include "tests/snapshot/memory_target.h"
#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {
namespace {

using testing::Code;
using testing::Fails;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Keys;
using testing::MemoryTarget;
using testing::Must;
using testing::Noise;
using testing::OptionsOf;
using testing::Read;
using testing::SaveText;
using ::testing::SizeIs;
using testing::TextSink;

constexpr size_t kHeader = 16384;
constexpr size_t kChunk = 65536 + 16;

class Restore : public ::testing::TestWithParam<Compression> {
 protected:
  Restore() {
    SaveOptions options = OptionsOf(keys_);
    options.compression = GetParam();
    saved_ = Must(SaveText(target_, text_, options));
    catalog_ = Read(target_, keys_);
  }
  const Entry& entry() const { return *Must(SelectNewest(catalog_, {})); }
  std::string& payload() { return target_.files[saved_.manifest.backup()->object]; }

  absl::Status Verify(VerifyDepth depth, const age::Identities* identities) {
    return VerifyBackup(target_, entry(), {.depth = depth, .identities = identities}).status();
  }
  absl::Status ToFile() {
    return RestoreBackup(target_, entry(), scratch_ / "out", {.identities = &keys_.identities})
        .status();
  }
  // Another header for the same recipients, with the metadata of the manifest.
  std::string ForgeHeader(const SecretBytes& file_key) const {
    const Manifest& manifest = saved_.manifest;
    const std::string metadata = SerializeMetadata({.kind = Kind::kStream,
                                                    .object = manifest.backup()->object,
                                                    .cluster = manifest.cluster,
                                                    .writer = manifest.writer,
                                                    .compression = GetParam()});
    return Must(age::MakeHeader(
        file_key, keys_.recipients,
        {.metadata = std::vector<uint8_t>(metadata.begin(), metadata.end()), .pad = true}));
  }
  bool AnyFile() const { return !std::filesystem::is_empty(scratch_.path()); }

  const Keys keys_;
  const testing::ScratchDirectory scratch_;
  const std::string text_ = Noise(300'000);
  MemoryTarget target_;
  SaveResult saved_;
  Catalog catalog_;
};

INSTANTIATE_TEST_SUITE_P(Compressions, Restore,
                         ::testing::Values(Compression::kNone, Compression::kZstd));

// The same bytes, in a file that nobody else can read.
TEST_P(Restore, WritesTheContent) {
  ASSERT_THAT(ToFile(), IsOk());
  EXPECT_TRUE(testing::ReadFile(scratch_ / "out") == text_);
  struct ::stat status = {};
  ASSERT_EQ(::stat((scratch_ / "out").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

// An existing file stays as it is.
TEST_P(Restore, ReplacesNothing) {
  testing::WriteFile(scratch_ / "out", "precious");
  EXPECT_THAT(ToFile(), Fails(Code::kAlreadyExists, "out"));
  EXPECT_EQ(testing::ReadFile(scratch_ / "out"), "precious");
}

// A wrong identity and none at all.
TEST_P(Restore, WantsTheRightIdentity) {
  const Keys other;
  EXPECT_THAT(RestoreBackup(target_, entry(), scratch_ / "out", {.identities = &other.identities}),
              Fails(Code::kUnauthenticated, saved_.manifest.backup()->object));
  EXPECT_THAT(RestoreBackup(target_, entry(), scratch_ / "out", {}),
              Fails(Code::kInvalidArgument, "identity"));
  EXPECT_FALSE(AnyFile());
}

// Each depth of verification passes, and says what it did.
TEST_P(Restore, VerifiesWhatIsGood) {
  for (const VerifyDepth depth : {VerifyDepth::kQuick, VerifyDepth::kFull, VerifyDepth::kDeep}) {
    const auto result =
        VerifyBackup(target_, entry(), {.depth = depth, .identities = &keys_.identities});
    ASSERT_THAT(result, IsOk());
    EXPECT_TRUE(result->decrypted);
    EXPECT_EQ(result->digest_checked, depth != VerifyDepth::kQuick);
  }
  const auto without = VerifyBackup(target_, entry(), {});
  ASSERT_THAT(without, IsOk());
  EXPECT_FALSE(without->decrypted);
  EXPECT_TRUE(without->digest_checked);
}

// Bytes flipped in the header's stanza, the nonce, a middle chunk; chunks doubled and swapped; cut
// at and off a chunk's end; something appended. Nothing gets a name, and with or without an
// identity a full verification finds it.
TEST_P(Restore, FindsEveryChange) {
  using Change = std::function<void(std::string&)>;
  const std::vector<std::pair<const char*, Change>> changes = {
      {"nonce", [](std::string& p) { p[kHeader - 1] ^= 1; }},
      {"first chunk", [](std::string& p) { p[kHeader + 5] ^= 1; }},
      {"middle chunk", [](std::string& p) { p[kHeader + 2 * kChunk + 9] ^= 1; }},
      {"last byte", [](std::string& p) { p.back() ^= 1; }},
      {"chunks swapped",
       [](std::string& p) {
         std::swap_ranges(p.begin() + kHeader, p.begin() + kHeader + kChunk,
                          p.begin() + kHeader + kChunk);
       }},
      {"chunk doubled", [](std::string& p) { p.insert(kHeader, p.substr(kHeader, kChunk)); }},
      {"chunk dropped", [](std::string& p) { p.erase(kHeader, kChunk); }},
      {"cut at a chunk", [](std::string& p) { p.resize(kHeader + 3 * kChunk); }},
      {"cut inside", [](std::string& p) { p.resize(p.size() - 7); }},
      {"appended", [](std::string& p) { p += "x"; }},
      {"16 KiB appended", [](std::string& p) { p += std::string(16384, 'x'); }},
      {"16 KiB inserted", [](std::string& p) { p.insert(kHeader, std::string(16384, 'x')); }},
      {"empty", [](std::string& p) { p.clear(); }},
  };
  const std::string good = payload();
  for (const auto& [name, change] : changes) {
    payload() = good;
    change(payload());
    EXPECT_THAT(ToFile(), Fails(Code::kDataLoss, saved_.manifest.backup()->object)) << name;
    EXPECT_FALSE(AnyFile()) << name;
    EXPECT_THAT(Verify(VerifyDepth::kFull, &keys_.identities), Fails(Code::kDataLoss, "")) << name;
    EXPECT_THAT(Verify(VerifyDepth::kFull, nullptr), Fails(Code::kDataLoss, "")) << name;
  }
}

// A valid age file of the same recipient and size, made by somebody who can write to the target.
TEST_P(Restore, RefusesASwappedPayload) {
  SaveOptions options = OptionsOf(keys_);
  options.compression = GetParam();
  const SaveResult other = Must(SaveText(target_, Noise(300'000), options));
  payload() = target_.files[other.manifest.backup()->object];
  const Catalog catalog = Read(target_, keys_);
  const auto entry = Must(SelectNewest(catalog, {.object = saved_.manifest.backup()->object}));
  TextSink sink;
  EXPECT_THAT(LoadBackup(target_, *entry, sink, {.identities = &keys_.identities}),
              Fails(Code::kDataLoss, "metadata"));
  EXPECT_EQ(sink.text, "");
}

// A payload of the same size under a new file key and the copied metadata, which needs no more than
// the public recipients: not a byte of it comes out, and a look at its ends says what it left out.
TEST_P(Restore, PutsOutNothingOfAForgedPayload) {
  const SecretBytes file_key = Must(age::NewFileKey());
  const age::Nonce nonce = Must(age::NewNonce());
  std::string forged = ForgeHeader(file_key);
  forged.append(nonce.begin(), nonce.end());
  testing::TextSource content(Noise(saved_.manifest.backup()->plaintext_size));
  TextSink sealed;
  ASSERT_THAT(age::EncryptPayload(Must(age::DerivePayloadKey(file_key, nonce)), content, sealed, 1),
              IsOk());
  payload() = forged + sealed.text;
  TextSink sink;
  EXPECT_THAT(LoadBackup(target_, entry(), sink, {.identities = &keys_.identities}),
              Fails(Code::kDataLoss, "SHA-256"));
  EXPECT_EQ(sink.text, "");
  const auto quick = VerifyBackup(target_, entry(),
                                  {.depth = VerifyDepth::kQuick, .identities = &keys_.identities});
  ASSERT_THAT(quick, IsOk());
  EXPECT_FALSE(quick->digest_checked);
}

// An edited header: metadata of another cluster, or a damaged stanza.
TEST_P(Restore, RefusesAnEditedHeader) {
  const std::string good = payload();
  const size_t stanza = good.find("-> X25519 ") + 60;  // in the body
  payload()[stanza + 20] = good[stanza + 20] == 'A' ? 'B' : 'A';
  EXPECT_FALSE(ToFile().ok());
  EXPECT_FALSE(AnyFile());
  payload() = good;
  payload()[good.find("-> cryptsnap-padding") + 25] = '1';
  EXPECT_THAT(ToFile(), Fails(Code::kDataLoss, "header"));
  EXPECT_FALSE(AnyFile());
}

// A sink that fails, such as a full disk: its error.
TEST_P(Restore, PassesOnTheSinksError) {
  TextSink full(100'000);
  EXPECT_THAT(LoadBackup(target_, entry(), full, {.identities = &keys_.identities}),
              Fails(Code::kResourceExhausted, "disk is full"));
}

// Which of several identities open a backup, each alone.
TEST_P(Restore, DrillsEachIdentity) {
  Keys other;
  age::Identities identities;
  identities.push_back(std::move(other.identities[0]));
  identities.push_back(Must(age::X25519Identity::Parse(keys_.identity_text)));
  const auto drilled = Must(DrillIdentities(target_, {&entry()}, identities));
  ASSERT_THAT(drilled, SizeIs(1));
  ASSERT_THAT(drilled[0].by_identity, SizeIs(2));
  EXPECT_THAT(drilled[0].by_identity[0], Fails(Code::kUnauthenticated, "does not open"));
  EXPECT_THAT(drilled[0].by_identity[1], IsOk());
}

}  // namespace
}  // namespace cryptvol::snapshot
