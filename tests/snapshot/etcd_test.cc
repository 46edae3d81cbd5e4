// A real etcd: saved, verified, restored, and taken by etcdctl.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "etcd/client.h"
#include "snapshot/restore.h"
#include "snapshot/save.h"
#include "snapshot/verify.h"
#include "tests/etcd/etcd_server.h"
#include "tests/snapshot/memory_target.h"
#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {
namespace {

using etcd::testing::Etcdctl;
using etcd::testing::EtcdServer;
using testing::Code;
using ::testing::Contains;
using testing::Fails;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Keys;
using testing::Must;
using testing::OptionsOf;
using testing::Read;

// A snapshot from memory, as long as it says or shorter.
class TextSnapshot : public etcd::SnapshotSource {
 public:
  explicit TextSnapshot(std::string text, absl::Status end = {})
      : size_(text.size()), source_(std::move(text), 4096, std::move(end)) {}
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override { return source_.Read(buffer); }
  uint64_t expected_bytes() const override { return size_; }
  const std::string& storage_version() const override { return version_; }

 private:
  const uint64_t size_;
  testing::TextSource source_;
  const std::string version_;
};

class EtcdBackup : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = EtcdServer::Start({});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    ASSERT_THAT(server_->WaitUntilItListens(), IsOk());
    for (int i = 0; i < 20; ++i) {
      ASSERT_THAT(Etcdctl({"--endpoints=" + server_->target(), "put", fmt::format("key{}", i),
                           std::string(20000, 'v')}),
                  IsOk());
    }
    ASSERT_THAT(Etcdctl({"--endpoints=" + server_->target(), "del", "key3"}), IsOk());
  }
  static void TearDownTestSuite() { server_.reset(); }

  // A save of the running member.
  absl::StatusOr<SaveResult> Save(
      Target& target, SaveOptions options, const std::function<void()>& before_hash = [] {}) {
    etcd::ClientOptions client_options;
    client_options.endpoints = {server_->target()};
    CV_ASSIGN_OR_RETURN(const auto client, etcd::Client::Create(std::move(client_options)));
    CV_ASSIGN_OR_RETURN(const etcd::Choice choice, client->Choose(/*allow_stale=*/false));
    EtcdOrigin origin = OriginOf(choice.chosen);
    origin.hash_kv = [&](int64_t revision) -> absl::StatusOr<MemberHash> {
      before_hash();
      CV_ASSIGN_OR_RETURN(const auto hash, choice.connection->HashKeys(revision));
      return MemberHash{hash.hash(), hash.compact_revision()};
    };
    CV_ASSIGN_OR_RETURN(const auto source, choice.connection->TakeSnapshot());
    return SaveEtcd(target, *source, origin, options);
  }

  static inline std::unique_ptr<EtcdServer> server_;
  const Keys keys_;
  const testing::ScratchDirectory scratch_;
  const std::unique_ptr<Target> target_ = testing::OpenDirectory(scratch_ / "backups");
};

// The whole way, with and without compression: exact revision, deep verification, the same bytes as
// etcdctl's own snapshot, and a restore that starts.
TEST_F(EtcdBackup, ComesBackWhole) {
  for (const Compression compression : {Compression::kNone, Compression::kZstd}) {
    SaveOptions options = OptionsOf(keys_);
    options.compression = compression;
    const auto saved = Save(*target_, options);
    ASSERT_THAT(saved, IsOk());
    EXPECT_THAT(saved->warnings, IsEmpty());
    const EtcdRecord& etcd = *saved->manifest.backup()->etcd;
    EXPECT_EQ(etcd.revision, 22);  // the first is 1; 20 puts, one deletion
    EXPECT_FALSE(etcd.revision_is_lower_bound);
    ASSERT_TRUE(etcd.hash_kv.has_value());
    EXPECT_EQ(etcd.hash_kv->revision, 22);
    EXPECT_EQ(saved->manifest.backup()->completeness, Completeness::kEtcdTrailer);

    const Catalog catalog = Read(*target_, keys_);
    const Entry* entry = Must(SelectNewest(catalog, {.revision = 22}));
    const auto verified = VerifyBackup(
        *target_, *entry, {.depth = VerifyDepth::kDeep, .identities = &keys_.identities});
    ASSERT_THAT(verified, IsOk());
    EXPECT_EQ(verified->contents->live_keys, 19u);

    const std::string name = std::string(CompressionText(compression));
    const std::string file = scratch_ / (name + ".db");
    ASSERT_THAT(RestoreBackup(*target_, *entry, file, {.identities = &keys_.identities}), IsOk());
    const std::string own = scratch_ / (name + ".own");
    ASSERT_THAT(Etcdctl({"--endpoints=" + server_->target(), "snapshot", "save", own}), IsOk());
    EXPECT_TRUE(testing::ReadFile(file) == testing::ReadFile(own));
    EXPECT_THAT(Etcdctl({"snapshot", "restore", file, "--data-dir=" + scratch_ / (name + ".etcd")}),
                IsOk());
  }
}

// Without reading back, the revision is what the member had before, and says so.
TEST_F(EtcdBackup, RecordsALowerBound) {
  SaveOptions options = OptionsOf(keys_);
  options.read_back = false;
  const SaveResult saved = Must(Save(*target_, options));
  const EtcdRecord& etcd = *saved.manifest.backup()->etcd;
  EXPECT_TRUE(etcd.revision_is_lower_bound);
  EXPECT_EQ(etcd.revision, 22);
  const Catalog catalog = Read(*target_, keys_);
  EXPECT_THAT(
      VerifyBackup(*target_, *Must(SelectNewest(catalog, {})), {.identities = &keys_.identities}),
      IsOk());
}

// A snapshot older than what the member had said, one that is no database, one that breaks off, and
// one that is shorter than announced: nothing is left.
TEST_F(EtcdBackup, SavesNothingThatIsNotWhole) {
  const std::string own = scratch_ / "own";
  ASSERT_THAT(Etcdctl({"--endpoints=" + server_->target(), "snapshot", "save", own}), IsOk());
  const std::string bytes = testing::ReadFile(own);
  const auto save = [&](std::string text, int64_t revision, absl::Status end = {}) {
    testing::MemoryTarget memory;
    TextSnapshot source(std::move(text), std::move(end));
    const auto saved = SaveEtcd(memory, source, {.revision = revision}, OptionsOf(keys_));
    EXPECT_EQ(memory.files.empty(), !saved.ok());
    return saved.status();
  };
  EXPECT_THAT(save(bytes, 22), IsOk());
  EXPECT_THAT(save(bytes, 23), Fails(Code::kFailedPrecondition, "stale"));
  EXPECT_THAT(save(std::string(4096 + 32, 'x'), 1), Fails(Code::kFailedPrecondition, ""));
  EXPECT_THAT(save(bytes, 22, absl::DataLossError("etcd's digest is wrong")),
              Fails(Code::kDataLoss, "digest"));
  EXPECT_THAT(save(bytes.substr(0, bytes.size() - 32), 22), Fails(Code::kDataLoss, "digest"));
}

// A database whose trailer does not fit, signed all the same by a writer at fault: not restored.
TEST_F(EtcdBackup, ChecksTheTrailer) {
  const std::string own = scratch_ / "own";
  ASSERT_THAT(Etcdctl({"--endpoints=" + server_->target(), "snapshot", "save", own}), IsOk());
  std::string bytes = testing::ReadFile(own);
  bytes.back() ^= 1;
  testing::MemoryTarget memory;
  TextSnapshot source(bytes);
  ASSERT_THAT(SaveEtcd(memory, source, {.revision = 22}, OptionsOf(keys_)), IsOk());
  const Catalog catalog = Read(memory, keys_);
  const Entry* entry = Must(SelectNewest(catalog, {}));
  EXPECT_THAT(RestoreBackup(memory, *entry, scratch_ / "out", {.identities = &keys_.identities}),
              Fails(Code::kDataLoss, "which etcd appends"));
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "out"));
  EXPECT_THAT(VerifyBackup(memory, *entry, {.identities = &keys_.identities}),
              Fails(Code::kDataLoss, "which etcd appends"));
}

// A member that was compacted after the snapshot hashes less than the snapshot has: its hash is left
// out. The last test: it compacts the server that all share.
TEST_F(EtcdBackup, RecordsNoHashOfAMemberCompactedMeanwhile) {
  const auto saved = Save(*target_, OptionsOf(keys_), [] {
    EXPECT_THAT(Etcdctl({"--endpoints=" + server_->target(), "compact", "5"}), IsOk());
  });
  ASSERT_THAT(saved, IsOk());
  EXPECT_FALSE(saved->manifest.backup()->etcd->hash_kv.has_value());
  EXPECT_THAT(saved->warnings, Contains(HasSubstr("compacted after the snapshot")));
}

}  // namespace
}  // namespace cryptvol::snapshot
