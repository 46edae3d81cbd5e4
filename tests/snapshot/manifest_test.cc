// Manifests: what is written is read, and nothing else is.
#include "snapshot/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "snapshot/metadata.h"
#include "tests/age/testing.h"

namespace cryptvol::snapshot {
namespace {

using age::testing::Fails;
using age::testing::IsOk;
using ::testing::HasSubstr;
using ::testing::Not;

using Code = absl::StatusCode;

Manifest EtcdBackup() {
  Manifest manifest;
  manifest.target = "s3://backups/prod";
  manifest.cluster = "prod";
  manifest.writer = "1F2E3D4C5B6A7988";
  manifest.sequence = 42;
  manifest.previous = {.sequence = 41, .manifest_sha256 = std::string(64, 'a'), .was_signed = true};
  manifest.time = *ParseTimestamp("2026-11-22T09:30:10Z");
  manifest.record = BackupRecord{.object = "20261122T093000Z-prod-6f1c2a3b9d4e5f60.age",
                                 .started = *ParseTimestamp("2026-11-22T09:30:00Z"),
                                 .plaintext_size = 20512,
                                 .content_size = 20512,
                                 .payload_sha256 = std::string(64, 'b'),
                                 .completeness = Completeness::kEtcdTrailer,
                                 .etcd = EtcdRecord{.cluster_id = 14841639068965178418u,
                                                    .member_id = 0x8e9e05c52164694d,
                                                    .revision = 1234567,
                                                    .version = "3.4.23",
                                                    .hash_kv = HashKv{1234567, 4294967295u}}};
  return manifest;
}

Manifest StreamBackup() {
  Manifest manifest = EtcdBackup();
  manifest.sequence = 1;
  manifest.previous.reset();
  auto& backup = std::get<BackupRecord>(manifest.record);
  backup.etcd.reset();
  backup.compression = Compression::kZstd;
  backup.content_size = 100'000;
  backup.completeness = Completeness::kUnproven;
  return manifest;
}

Manifest PruneEntry() {
  Manifest manifest = EtcdBackup();
  manifest.record = PruneRecord{
      .removes = {{.sequence = 3,
                   .object = "20261122T093000Z-prod-6f1c2a3b9d4e5f60.age",
                   .manifest_sha256 = std::string(64, 'c')},
                  {.sequence = 4, .object = "", .manifest_sha256 = std::string(64, 'd')}},
      .absent = {{1, 1}, {3, 4}, {6, 41}}};
  return manifest;
}

std::string TextOf(const Manifest& manifest) {
  const auto text = SerializeManifest(manifest);
  EXPECT_THAT(text, IsOk());
  return text.value_or("");
}

// The text with the first `from` replaced; it must be there.
std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

// Each kind comes back as it was.
TEST(Manifest, ComesBack) {
  for (const Manifest& manifest : {EtcdBackup(), StreamBackup(), PruneEntry()}) {
    const auto parsed = ParseManifest(TextOf(manifest));
    ASSERT_THAT(parsed, IsOk());
    EXPECT_EQ(*parsed, manifest);
  }
}

// The fields that are there in rare cases only.
TEST(Manifest, ComesBackWithItsRareFields) {
  Manifest manifest = PruneEntry();
  EXPECT_THAT(TextOf(manifest), Not(HasSubstr("last_signed")));
  EXPECT_THAT(TextOf(manifest), Not(HasSubstr("kept")));
  manifest.previous->was_signed = false;
  manifest.previous->last_signed = 40;
  std::get<PruneRecord>(manifest.record).kept = {{2, std::string(64, 'e')},
                                                 {5, std::string(64, 'f')}};
  const std::string text = TextOf(manifest);
  EXPECT_EQ(ParseManifest(text).value(), manifest);
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"signed\": false", "\"signed\": true"},
           {"\"last_signed\": 40", "\"last_signed\": 41"},
           {"\"last_signed\": 40", "\"last_signed\": -1"},
           {"\"kept\": [", "\"kept\": [2, "},
           {"\"sequence\": 5", "\"sequence\": 2"},
           {"\"sequence\": 5", "\"sequence\": 42"},
           {std::string(64, 'e'), std::string(63, 'e')}}) {
    EXPECT_THAT(ParseManifest(Replaced(text, from, to)), Fails(Code::kInvalidArgument, "")) << to;
  }
}

// The bytes that docs/format.md promises: the line, the names, digits as text where they are ids.
TEST(Manifest, IsWhatTheFormatSays) {
  const std::string text = TextOf(EtcdBackup());
  EXPECT_TRUE(text.starts_with("cryptsnap-manifest/v1\n{"));
  EXPECT_TRUE(text.ends_with("}\n"));
  for (const char* part :
       {"\"kind\": \"etcd\"", "\"writer\": \"1F2E3D4C5B6A7988\"", "\"sequence\": 42",
        "\"time\": \"2026-11-22T09:30:10Z\"", "\"cluster_id\": \"cdf818194e3a8c32\"",
        "\"member_id\": \"8e9e05c52164694d\"", "\"completeness\": \"etcd-trailer\"",
        "\"hash\": 4294967295", "\"signed\": true", "\"revision_is_lower_bound\": false"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

// One thing wrong at a time, each of which a reader could take for something else.
TEST(Manifest, RefusesEverythingElse) {
  const std::string text = TextOf(EtcdBackup());
  const std::vector<std::pair<std::string, std::string>> edits = {
      {"cryptsnap-manifest/v1\n", ""},
      {"cryptsnap-manifest/v1\n", "cryptsnap-manifest/v1 \n"},
      {"cryptsnap-manifest/v1\n", "cryptsnap-manifest/v11\n"},
      {"\"format\": 1", "\"format\": 0"},
      {"\"format\": 1", "\"format\": 1.0"},
      {"\"kind\": \"etcd\"", "\"kind\": \"stream\""},
      {"\"kind\": \"etcd\"", "\"kind\": \"prune\""},
      {"\"kind\": \"etcd\"", "\"kind\": \"other\""},
      {"\"cluster\": \"prod\"", "\"cluster\": \"../prod\""},
      {"\"cluster\": \"prod\"", "\"cluster\": \"prod\", \"cluster\": \"prod\""},
      {"\"cluster\": \"prod\"", "\"cluster\": \"prod\", \"extra\": 1"},
      {"\"cluster\": \"prod\",", ""},
      {"s3://backups", "ftp://backups"},
      {"s3://backups", "s3://back\\u001bups"},
      {"1F2E3D4C5B6A7988", "1f2e3d4c5b6a7988"},
      {"\"sequence\": 42", "\"sequence\": \"42\""},
      {"\"sequence\": 42", "\"sequence\": -42"},
      {"\"sequence\": 42", "\"sequence\": 43"},
      {"\"sequence\": 42", "\"sequence\": 0"},
      {"\"sequence\": 41", "\"sequence\": 40"},
      {"\"signed\": true", "\"signed\": 1"},
      {"2026-11-22T09:30:10Z", "2026-11-22T09:30:10+00:00"},
      {"20261122T093000Z-prod", "../../etc/prod"},
      {"\"plaintext_size\": 20512", "\"plaintext_size\": 20513"},
      {"\"plaintext_size\": 20512", "\"plaintext_size\": 1e3"},
      {"\"plaintext_size\": 20512", "\"plaintext_size\": 99999999999999999999"},
      {std::string(64, 'b'), std::string(63, 'b')},
      {std::string(64, 'b'), std::string(64, 'B')},
      {"etcd-trailer", "trust-me"},
      {"cdf818194e3a8c32", "CDF818194E3A8C32"},
      {"cdf818194e3a8c32", "0x00000000000032"},
      {"\"revision\": 1234567", "\"revision\": 0"},
      {"\"hash\": 4294967295", "\"hash\": 4294967296"},
      {"\"version\": \"3.4.23\"", "\"version\": \"3.4\\u0000\""},
  };
  ASSERT_THAT(ParseManifest(text), IsOk());
  for (const auto& [from, to] : edits) {
    EXPECT_THAT(ParseManifest(Replaced(text, from, to)), Fails(Code::kInvalidArgument, ""))
        << from << " -> " << to;
  }
  EXPECT_THAT(ParseManifest(text + text), Fails(Code::kInvalidArgument, ""));
  EXPECT_THAT(ParseManifest(text.substr(0, text.size() - 3)), Fails(Code::kInvalidArgument, ""));
  EXPECT_THAT(ParseManifest(""), Fails(Code::kInvalidArgument, ""));
  EXPECT_THAT(ParseManifest(text + std::string(kMaxManifestBytes, ' ') + "}\n"),
              Fails(Code::kInvalidArgument, "longer"));
}

// What a prune entry lets be absent is ascending, apart, and before itself.
TEST(Manifest, RefusesUnfitAbsences) {
  for (const std::vector<SequenceRange>& absent : std::vector<std::vector<SequenceRange>>{
           {{3, 2}}, {{0, 1}}, {{3, 4}, {1, 1}}, {{1, 2}, {2, 3}}, {{1, 2}, {3, 4}}, {{40, 42}}}) {
    Manifest manifest = PruneEntry();
    std::get<PruneRecord>(manifest.record).absent = absent;
    EXPECT_THAT(SerializeManifest(manifest), Fails(Code::kInvalidArgument, "absent"));
  }
}

// A format of the future is told from a damaged one.
TEST(Manifest, AdvisesToUpdate) {
  const std::string text = Replaced(TextOf(EtcdBackup()), "\"format\": 1", "\"format\": 2");
  EXPECT_THAT(ParseManifest(text), Fails(Code::kUnimplemented, "update cryptsnap"));
}

// What could not be read again is not written.
TEST(Manifest, IsNotWrittenUnreadable) {
  Manifest manifest = StreamBackup();
  manifest.target = "file:/\xff";
  EXPECT_THAT(SerializeManifest(manifest), Fails(Code::kInvalidArgument, "UTF-8"));
  manifest = StreamBackup();
  manifest.cluster = "";
  EXPECT_THAT(SerializeManifest(manifest), Fails(Code::kInvalidArgument, "cluster"));
}

// The header's copy: there and back, and each difference from the manifest is an error.
TEST(Metadata, AgreeWithTheManifest) {
  const Manifest manifest = EtcdBackup();
  const std::string text = SerializeMetadata(MetadataOf(manifest));
  const auto parsed = ParseMetadata(text);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(*parsed, MetadataOf(manifest));
  const auto check = [&](std::string_view body) {
    const std::vector<age::Stanza> stanzas = {
        {.type = "cryptsnap-metadata", .args = {}, .body = {body.begin(), body.end()}}};
    return CheckMetadata(stanzas, manifest);
  };
  EXPECT_THAT(check(text), IsOk());
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"\"etcd\"", "\"stream\""},
                                                        {"6f1c2a3b9d4e5f60", "6f1c2a3b9d4e5f61"},
                                                        {"\"prod\"", "\"dev\""},
                                                        {"1F2E3D4C5B6A7988", "1F2E3D4C5B6A7989"},
                                                        {"\"none\"", "\"zstd\""},
                                                        {"\"none\"", "\"none\", \"more\": 1"},
                                                        {"{", ""}}) {
    EXPECT_THAT(check(Replaced(text, from, to)), Fails(Code::kDataLoss, "metadata")) << to;
  }
  EXPECT_THAT(CheckMetadata({}, manifest), Fails(Code::kDataLoss, "absent"));
}

}  // namespace
}  // namespace cryptvol::snapshot
