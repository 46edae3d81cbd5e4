// Saving a stream: what comes back, what stock tools read, and what proves that it is whole.
#include "snapshot/save.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {
namespace {

using testing::At;
using testing::Code;
using ::testing::ElementsAre;
using testing::Fails;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Keys;
using testing::LoadText;
using testing::Must;
using testing::Noise;
using testing::OptionsAt;
using testing::OptionsOf;
using testing::SaveText;
using testing::Shell;
using ::testing::SizeIs;
using testing::Succeeded;
using testing::TextSource;

class Save : public ::testing::Test {
 protected:
  Save() {
    testing::WriteFile(scratch_ / "identity.txt", keys_.identity_text + "\n");
    testing::WriteFile(scratch_ / "writer.pub",
                       minisign::SerializePublicKey(keys_.signing.public_key));
  }
  std::string Backups(const std::string& path) const { return scratch_ / ("backups/" + path); }

  const Keys keys_;
  const testing::ScratchDirectory scratch_;
  const std::unique_ptr<Target> target_ = testing::OpenDirectory(scratch_ / "backups");
};

// Sizes around chunks and frames, with and without compression, come back.
TEST_F(Save, ComesBack) {
  for (const size_t size : {0, 1, 65536, 65537, 3'000'000}) {
    for (const Compression compression : {Compression::kNone, Compression::kZstd}) {
      const std::string text = Noise(size);
      SaveOptions options = OptionsOf(keys_);
      options.compression = compression;
      const auto saved = SaveText(*target_, text, options);
      ASSERT_THAT(saved, IsOk());
      EXPECT_EQ(saved->manifest.backup()->content_size, size);
      EXPECT_EQ(saved->payload_bytes,
                std::filesystem::file_size(Backups(saved->manifest.backup()->object)));
      const auto back = LoadText(*target_, keys_);
      ASSERT_THAT(back, IsOk());
      EXPECT_TRUE(*back == text) << size;
    }
  }
}

// Debian's own age, zstd and minisign read what was saved.
TEST_F(Save, IsReadByStockTools) {
  const std::string text = Noise(200'000) + std::string(2'000'000, 'x');
  SaveOptions options = OptionsOf(keys_);
  for (const Compression compression : {Compression::kNone, Compression::kZstd}) {
    options.compression = compression;
    const SaveResult saved = Must(SaveText(*target_, text, options));
    const std::string payload = Backups(saved.manifest.backup()->object);
    const std::string zstd = compression == Compression::kZstd ? " | zstd -dq" : "";
    ASSERT_THAT(Shell("age -d -i " + scratch_ / "identity.txt" + " " + payload + zstd + " > " +
                      scratch_ / "out"),
                Succeeded());
    EXPECT_TRUE(testing::ReadFile(scratch_ / "out") == text);
    const std::string manifest = Backups(testing::ManifestPath(keys_, saved.manifest.sequence));
    EXPECT_THAT(Shell("minisign -V -p " + scratch_ / "writer.pub" + " -m " + manifest),
                Succeeded());
  }
}

// Header and nonce take a multiple of 16 KiB, so that the recipients can change in place.
TEST_F(Save, PadsTheHeader) {
  const SaveResult saved = Must(SaveText(*target_, "text", OptionsOf(keys_)));
  EXPECT_EQ(saved.payload_bytes, 16384u + 4 + 16);
}

// The manifest says what was saved, when, and what came before.
TEST_F(Save, RecordsTheChain) {
  const SaveResult one = Must(SaveText(*target_, "1", OptionsAt(keys_, "2026-11-22T09:30:00Z")));
  const SaveResult two = Must(SaveText(*target_, "22", OptionsAt(keys_, "2026-11-22T10:30:00Z")));
  EXPECT_EQ(one.manifest.previous, std::nullopt);
  EXPECT_EQ(
      two.manifest.previous,
      (PreviousEntry{.sequence = 1, .manifest_sha256 = one.manifest_sha256, .was_signed = true}));
  EXPECT_EQ(two.manifest.target, target_->name());
  EXPECT_EQ(two.manifest.cluster, "prod");
  EXPECT_EQ(two.manifest.writer, keys_.writer());
  EXPECT_EQ(two.manifest.time, At("2026-11-22T10:30:00Z"));
  EXPECT_EQ(two.manifest.kind(), Kind::kStream);
  EXPECT_EQ(two.manifest.backup()->plaintext_size, 2u);
  EXPECT_TRUE(two.manifest.backup()->object.starts_with("20261122T103000Z-prod-"));
}

// Without a proof the backup says so, and the user is told.
TEST_F(Save, SaysWhatIsUnproven) {
  const SaveResult saved = Must(SaveText(*target_, "text", OptionsOf(keys_)));
  EXPECT_EQ(saved.manifest.backup()->completeness, Completeness::kUnproven);
  EXPECT_THAT(saved.warnings, ElementsAre(HasSubstr("--expect-size")));
}

// Each proof that holds is recorded.
TEST_F(Save, RecordsProofs) {
  SaveOptions options = OptionsOf(keys_);
  options.proofs.producer_ended = [] { return absl::OkStatus(); };
  EXPECT_EQ(Must(SaveText(*target_, "text", options)).manifest.backup()->completeness,
            Completeness::kCommand);
  options.proofs.size = 4;
  EXPECT_EQ(Must(SaveText(*target_, "text", options)).manifest.backup()->completeness,
            Completeness::kSize);
  options.proofs.sha256 = Sha256Text("text");
  const SaveResult saved = Must(SaveText(*target_, "text", options));
  EXPECT_EQ(saved.manifest.backup()->completeness, Completeness::kSha256);
  EXPECT_THAT(saved.warnings, IsEmpty());
}

// Each proof that does not hold leaves nothing behind, not even a payload.
TEST_F(Save, SavesNothingUnlessWhole) {
  const auto refused = [&](const Proofs& proofs) {
    SaveOptions options = OptionsOf(keys_);
    options.proofs = proofs;
    return SaveText(*target_, "text", options);
  };
  EXPECT_THAT(refused({.size = 5}), Fails(Code::kDataLoss, "4 bytes came, and 5"));
  EXPECT_THAT(refused({.sha256 = Sha256Text("other")}), Fails(Code::kDataLoss, "SHA-256"));
  EXPECT_THAT(refused({.producer_ended = [] { return absl::AbortedError("exit status 2"); }}),
              Fails(Code::kAborted, "exit status 2"));
  EXPECT_THAT(Must(target_->List()).files, IsEmpty());
}

// A source that fails in mid-stream: its error, and nothing left.
TEST_F(Save, SavesNothingOfABrokenSource) {
  TextSource source(Noise(1'000'000), 4096, absl::UnavailableError("the pipe broke"));
  EXPECT_THAT(SaveStream(*target_, source, OptionsOf(keys_)),
              Fails(Code::kUnavailable, "the pipe broke"));
  EXPECT_THAT(Must(target_->List()).files, IsEmpty());
}

// Options that cannot be, each with its words, before anything is written.
TEST_F(Save, ChecksItsOptions) {
  const auto refused = [&](auto change) {
    SaveOptions options = OptionsOf(keys_);
    change(options);
    return SaveText(*target_, "text", options);
  };
  const age::Recipients none;
  EXPECT_THAT(refused([](SaveOptions& o) { o.cluster = "Prod"; }),
              Fails(Code::kInvalidArgument, "cluster"));
  EXPECT_THAT(refused([&](SaveOptions& o) { o.recipients = &none; }),
              Fails(Code::kInvalidArgument, "recipient"));
  EXPECT_THAT(refused([](SaveOptions& o) { o.signing_key = nullptr; }),
              Fails(Code::kInvalidArgument, "signing key"));
  EXPECT_THAT(refused([](SaveOptions& o) { o.proofs.sha256 = "ABC"; }),
              Fails(Code::kInvalidArgument, "SHA-256"));
  EXPECT_THAT(refused([](SaveOptions& o) {
                o.compression = Compression::kZstd;
                o.zstd_level = 22;
              }),
              Fails(Code::kInvalidArgument, "level"));
  EXPECT_THAT(Must(target_->List()).files, IsEmpty());
}

// A clock that went back is recorded as it is, with a warning.
TEST_F(Save, WarnsOfAWrongClock) {
  Must(SaveText(*target_, "1", OptionsAt(keys_, "2027-01-01T00:00:00Z")));
  SaveOptions options = OptionsAt(keys_, "2026-11-22T09:30:00Z");
  options.proofs.size = 1;
  const SaveResult saved = Must(SaveText(*target_, "2", options));
  EXPECT_EQ(saved.manifest.time, At("2026-11-22T09:30:00Z"));
  EXPECT_THAT(saved.warnings, ElementsAre(HasSubstr("clock")));
}

// A chain that was moved goes on only when the user says so.
TEST_F(Save, KnowsAMovedChain) {
  Must(SaveText(*target_, "1", OptionsOf(keys_)));
  std::filesystem::rename(scratch_ / "backups", scratch_ / "moved");
  const auto moved = testing::OpenDirectory(scratch_ / "moved");
  EXPECT_THAT(SaveText(*moved, "2", OptionsOf(keys_)),
              Fails(Code::kFailedPrecondition, "--written-to"));
  SaveOptions options = OptionsOf(keys_);
  options.written_to = target_->name();
  EXPECT_EQ(Must(SaveText(*moved, "2", options)).manifest.sequence, 2u);
}

// Nothing of the content is in any file in the clear.
TEST_F(Save, LeavesNoPlaintext) {
  std::string text;
  while (text.size() < 500'000) text += "a pattern that is easy to find ";
  Must(SaveText(*target_, text, OptionsOf(keys_)));
  EXPECT_FALSE(Shell("grep -rq 'easy to find' " + scratch_ / "backups").ok());
  EXPECT_THAT(Shell("grep -rq '\"cluster\": \"prod\"' " + scratch_ / "backups"), Succeeded());
}

}  // namespace
}  // namespace cryptvol::snapshot
