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

// Shows what `store` has, but to the first reading from the nonce to the end what is in `once`.
class TwoFacedTarget : public MemoryTarget {
 public:
  TwoFacedTarget(MemoryTarget& store, std::string once, int& whole_readings)
      : store_(store), once_(std::move(once)), whole_readings_(whole_readings) {}
  absl::StatusOr<std::unique_ptr<RangeSource>> OpenPayload(const FileName& name) override {
    CV_ASSIGN_OR_RETURN(auto file, store_.OpenPayload(name));
    return std::make_unique<TwoFacedFile>(std::move(file), *this);
  }

 private:
  class TwoFacedFile : public RangeSource {
   public:
    TwoFacedFile(std::unique_ptr<RangeSource> file, TwoFacedTarget& target)
        : file_(std::move(file)), target_(target) {}
    uint64_t size() const override { return file_->size(); }
    absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
      const bool whole = offset > 0 && offset < kHeader && offset + buffer.size() == size();
      if (!whole || ++target_.whole_readings_ > 1) return file_->ReadAt(offset, buffer);
      std::copy_n(target_.once_.begin() + static_cast<ptrdiff_t>(offset), buffer.size(),
                  buffer.begin());
      return absl::OkStatus();
    }

   private:
    const std::unique_ptr<RangeSource> file_;
    TwoFacedTarget& target_;
  };

  MemoryTarget& store_;
  const std::string once_;
  int& whole_readings_;
};

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
  // A payload of the manifest's size, under this nonce and a file key of its own.
  std::string ForgePayload(const std::string& nonce) const {
    const SecretBytes file_key = Must(age::NewFileKey());
    age::Nonce bytes;
    std::ranges::copy(nonce, bytes.begin());
    const SecretBytes key = Must(age::DerivePayloadKey(file_key, bytes));
    testing::TextSource content(Noise(saved_.manifest.backup()->plaintext_size));
    TextSink sealed;
    EXPECT_THAT(age::EncryptPayload(key, content, sealed, 1), IsOk());
    return ForgeHeader(file_key) + nonce + sealed.text;
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
  const age::Nonce nonce = Must(age::NewNonce());
  payload() = ForgePayload({nonce.begin(), nonce.end()});
  TextSink sink;
  EXPECT_THAT(LoadBackup(target_, entry(), sink, {.identities = &keys_.identities}),
              Fails(Code::kDataLoss, "SHA-256"));
  EXPECT_EQ(sink.text, "");
  const auto quick = VerifyBackup(target_, entry(),
                                  {.depth = VerifyDepth::kQuick, .identities = &keys_.identities});
  ASSERT_THAT(quick, IsOk());
  EXPECT_FALSE(quick->digest_checked);
}

// A store that shows the true nonce and chunks once, while the digest is taken, and its own before
// and afterwards, under a header of its own: not a byte comes out.
TEST_P(Restore, IsNotDeceivedByAStoreThatShowsTwoPayloads) {
  const std::string good = payload();
  payload() = ForgePayload(good.substr(kHeader - sizeof(age::Nonce), sizeof(age::Nonce)));
  int whole_readings = 0;
  TwoFacedTarget store(target_, good, whole_readings);
  TextSink sink;
  EXPECT_THAT(LoadBackup(store, entry(), sink, {.identities = &keys_.identities}),
              Fails(Code::kDataLoss, saved_.manifest.backup()->object));
  EXPECT_EQ(sink.text, "");
  EXPECT_EQ(whole_readings, 1);
}

// A header that is damaged, in a stanza, the metadata, the padding, its last line, or the first: it
// looks as a wrong key does, since nobody can tell the two apart, and as `decrypt` has it.
TEST_P(Restore, RefusesAnEditedHeader) {
  const std::string good = payload();
  const auto body_of = [&](const char* stanza) { return good.find('\n', good.find(stanza)) + 21; };
  for (const size_t at : {size_t{3}, body_of("-> X25519 "), body_of("-> cryptsnap-metadata"),
                          good.find("-> cryptsnap-metadata") + 8,
                          good.find("-> cryptsnap-padding") + 25, good.find("\n--- ") + 10}) {
    payload() = good;
    payload()[at] = good[at] == 'B' ? 'C' : 'B';
    EXPECT_THAT(ToFile(), Fails(Code::kUnauthenticated, "header")) << at;
    EXPECT_THAT(Verify(VerifyDepth::kFull, &keys_.identities), Fails(Code::kUnauthenticated, ""));
    EXPECT_FALSE(AnyFile()) << at;
  }
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
