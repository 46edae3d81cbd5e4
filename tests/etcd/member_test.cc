// A single member of the installed etcd: what comes over the wire is what etcdctl saves, and our
// reading of it is etcdctl's.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <thread>

#include "etcd/client.h"
#include "etcd/database.h"
#include "etcd/snapshot_file.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/etcd/etcd_server.h"
#include "tests/etcd/testing.h"

namespace cryptvol::etcd {
namespace {

using testing::Drain;
using testing::Drained;
using testing::Etcdctl;
using testing::EtcdServer;
using testing::Fails;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::MemorySource;
using testing::TemporaryDirectory;

constexpr int kKeys = 300;

std::vector<uint8_t> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

absl::Status PutKeys(const std::string& target, const std::string& prefix, int count) {
  auto stub =
      etcdserverpb::KV::NewStub(grpc::CreateChannel(target, grpc::InsecureChannelCredentials()));
  for (int i = 0; i < count; ++i) {
    grpc::ClientContext context;
    etcdserverpb::PutRequest request;
    request.set_key(fmt::format("{}{}", prefix, i));
    request.set_value(std::string(i == 0 ? 20'000 : 100, 'v'));  // one that needs overflow pages
    etcdserverpb::PutResponse response;
    const grpc::Status status = stub->Put(&context, request, &response);
    if (!status.ok()) return Internal("put: {}", status.error_message());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Client>> Connect(const std::string& endpoint) {
  ClientOptions options;
  options.endpoints = {endpoint};
  options.request_timeout = std::chrono::seconds(10);
  return Client::Create(std::move(options));
}

// A server for all tests of this file, with keys, deletions and a compaction.
class Member : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = EtcdServer::Start({});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    ASSERT_THAT(server_->WaitUntilItListens(), IsOk());
    ASSERT_THAT(PutKeys(server_->target(), "key/", kKeys), IsOk());
    ASSERT_THAT(Run({"del", "key/7"}), IsOk());
    ASSERT_THAT(Run({"compact", "100", "--physical"}), IsOk());
  }
  static void TearDownTestSuite() { server_.reset(); }

  void SetUp() override {
    ASSERT_NE(server_, nullptr);
    auto client = Connect(server_->target());
    ASSERT_THAT(client, IsOk());
    client_ = *std::move(client);
    auto choice = client_->Choose(false);
    ASSERT_THAT(choice, IsOk());
    choice_ = *std::move(choice);
  }

  static absl::StatusOr<std::string> Run(std::vector<std::string> args) {
    args.insert(args.begin(), {"--endpoints", server_->target()});
    return Etcdctl(std::move(args));
  }

  std::vector<uint8_t> TakeSnapshot() {
    auto source = choice_.connection->TakeSnapshot();
    EXPECT_THAT(source, IsOk());
    if (!source.ok()) return {};
    const Drained drained = Drain(**source);
    EXPECT_THAT(drained.status, IsOk());
    EXPECT_EQ(drained.bytes.size(), (*source)->expected_bytes());
    return drained.bytes;
  }

  nlohmann::json EtcdctlStatus(const std::vector<uint8_t>& snapshot) {
    const std::string path = directory_.File("for-status");
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(snapshot.data()),
               static_cast<std::streamsize>(snapshot.size()));
    const auto status = Etcdctl({"snapshot", "status", path, "--write-out", "json"});
    EXPECT_THAT(status, IsOk());
    return nlohmann::json::parse(status.value_or("{}"), nullptr, false);
  }

  static std::unique_ptr<EtcdServer> server_;
  const TemporaryDirectory directory_;
  std::unique_ptr<Client> client_;
  Choice choice_;
};

std::unique_ptr<EtcdServer> Member::server_;

// The report is of the member that we know, and a member alone is its own leader.
TEST_F(Member, IsReported) {
  EXPECT_EQ(choice_.chosen.endpoint, server_->target());
  EXPECT_TRUE(choice_.chosen.is_leader);
  EXPECT_FALSE(choice_.chosen.is_learner);
  EXPECT_GT(choice_.chosen.revision, kKeys);
  EXPECT_GT(choice_.chosen.database_bytes, 20'000);
  EXPECT_NE(choice_.chosen.member_id, 0u);
  EXPECT_FALSE(choice_.chosen.version.empty());
  EXPECT_THAT(choice_.warnings, ::testing::IsEmpty());
  const auto members = choice_.connection->ListMembers();
  ASSERT_THAT(members, IsOk());
  ASSERT_EQ(members->members_size(), 1);
  EXPECT_EQ(members->members(0).id(), choice_.chosen.member_id);
}

// Byte for byte what `etcdctl snapshot save` writes.
TEST_F(Member, SnapshotIsThatOfEtcdctl) {
  std::vector<uint8_t> ours;
  std::vector<uint8_t> theirs;
  // Again when the member wrote something of its own in between.
  for (int i = 0; i < 10 && (ours.empty() || ours != theirs); ++i) {
    const std::string path = directory_.File("saved" + std::to_string(i));
    ASSERT_THAT(Run({"snapshot", "save", path}), IsOk());
    theirs = ReadFile(path);
    ours = TakeSnapshot();
  }
  EXPECT_TRUE(ours == theirs) << ours.size() << " bytes, not " << theirs.size();
  MemorySource source(ours);
  EXPECT_THAT(CheckDigest(source), IsOk());
}

// Our reader finds in it what etcdctl finds, and that it is whole.
TEST_F(Member, SnapshotIsReadAsEtcdctlReadsIt) {
  const std::vector<uint8_t> snapshot = TakeSnapshot();
  const nlohmann::json status = EtcdctlStatus(snapshot);
  MemorySource source(snapshot);
  const uint64_t bytes = ParseSnapshotSize(source.size()).value().database_bytes;
  const auto contents = CheckDatabase(source, bytes);
  ASSERT_THAT(contents, IsOk());
  EXPECT_EQ(contents->summary.revision, status["revision"].get<int64_t>());
  EXPECT_EQ(contents->summary.revision, choice_.chosen.revision);
  EXPECT_EQ(contents->tree.keys, status["totalKey"].get<uint64_t>());
  EXPECT_EQ(contents->live_keys, static_cast<uint64_t>(kKeys) - 1);
  EXPECT_EQ(contents->tombstones, 1u);
  EXPECT_EQ(contents->summary.compacted_revision, 100);
  EXPECT_GT(contents->summary.consistent_index, static_cast<uint64_t>(kKeys));
  ASSERT_EQ(contents->summary.members.size(), 1u);
  EXPECT_EQ(contents->summary.members[0].id, choice_.chosen.member_id);
  EXPECT_EQ(contents->summary.members[0].name, "default");
}

// The quick look gives the same, from a small part of the file.
TEST_F(Member, SummaryIsThatOfTheWholeCheck) {
  MemorySource source(TakeSnapshot());
  const uint64_t bytes = ParseSnapshotSize(source.size()).value().database_bytes;
  const auto summary = ReadSummary(source, bytes);
  ASSERT_THAT(summary, IsOk());
  EXPECT_LT(source.read_bytes(), bytes / 4);
  const auto contents = CheckDatabase(source, bytes);
  ASSERT_THAT(contents, IsOk());
  EXPECT_EQ(summary->revision, contents->summary.revision);
  EXPECT_EQ(summary->compacted_revision, contents->summary.compacted_revision);
  EXPECT_EQ(summary->consistent_index, contents->summary.consistent_index);
  EXPECT_EQ(summary->members.size(), contents->summary.members.size());
}

// A changed byte of what is in use does not pass the deep check unseen, or is in a value.
TEST_F(Member, DamageIsFoundOrInAValue) {
  const std::vector<uint8_t> snapshot = TakeSnapshot();
  const uint64_t bytes = ParseSnapshotSize(snapshot.size()).value().database_bytes;
  int found = 0;
  for (size_t at = 2 * 4096 + 8; at < bytes; at += 4096) {  // a page's kind
    MemorySource source(snapshot);
    source.bytes()[at] ^= 0x40;
    if (!CheckDatabase(source, bytes).ok()) ++found;
  }
  MemorySource sound(snapshot);
  const auto contents = CheckDatabase(sound, bytes);
  ASSERT_THAT(contents, IsOk());
  EXPECT_GT(found, 3);
  EXPECT_LE(static_cast<uint64_t>(found), contents->tree.used_pages);
}

// Writes during the snapshot: it is one moment, not older than what was committed before it.
TEST_F(Member, SnapshotUnderWritesIsOneMoment) {
  std::atomic<bool> stop = false;
  std::jthread writer([&stop, target = server_->target()] {
    for (int i = 0; !stop; ++i) {
      ASSERT_THAT(PutKeys(target, fmt::format("during/{}/", i), 20), IsOk());
    }
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const auto choice = client_->Choose(false);
  const std::vector<uint8_t> snapshot = TakeSnapshot();
  stop = true;
  writer.join();
  ASSERT_THAT(choice, IsOk());
  const nlohmann::json status = EtcdctlStatus(snapshot);
  MemorySource source(snapshot);
  const auto contents =
      CheckDatabase(source, ParseSnapshotSize(source.size()).value().database_bytes);
  ASSERT_THAT(contents, IsOk());
  EXPECT_GE(contents->summary.revision, choice->chosen.revision);
  EXPECT_EQ(contents->summary.revision, status["revision"].get<int64_t>());
}

// etcd restores it, and the restored member has the same keys by etcd's own hash.
TEST_F(Member, SnapshotIsRestored) {
  const auto before = choice_.connection->HashKeys(choice_.chosen.revision);
  ASSERT_THAT(before, IsOk());
  const std::string path = directory_.File("snapshot");
  const std::vector<uint8_t> snapshot = TakeSnapshot();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(snapshot.data()),
             static_cast<std::streamsize>(snapshot.size()));
  const std::string data = directory_.File("restored");
  const int peer_port = testing::FreePorts(1)[0];
  const std::string peer = fmt::format("http://127.0.0.1:{}", peer_port);
  ASSERT_THAT(
      Etcdctl({"snapshot", "restore", path, "--data-dir", data, "--name", "default",
               "--initial-cluster", "default=" + peer, "--initial-advertise-peer-urls", peer}),
      IsOk());
  auto restored = EtcdServer::Start({.args = {"--data-dir", data}, .peer_port = peer_port});
  ASSERT_THAT(restored, IsOk());
  ASSERT_THAT((*restored)->WaitUntilItListens(), IsOk());
  auto client = Connect((*restored)->target());
  ASSERT_THAT(client, IsOk());
  auto choice = (*client)->Choose(false);
  ASSERT_THAT(choice, IsOk());
  const auto after = choice->connection->HashKeys(choice_.chosen.revision);
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(after->hash(), before->hash());
  EXPECT_EQ(after->compact_revision(), before->compact_revision());
}

// Nobody there: the endpoint and the cause are in the message.
TEST_F(Member, NamesWhatItCannotReach) {
  const int port = testing::FreePorts(1)[0];
  auto client = Connect(fmt::format("127.0.0.1:{}", port));
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT((*client)->Choose(false),
              Fails(absl::StatusCode::kUnavailable, fmt::format("127.0.0.1:{}", port)));
  EXPECT_THAT((*client)->Choose(true),
              Fails(absl::StatusCode::kUnavailable, "Connection refused; is etcd running there"));
}

// TLS to a server without it.
TEST_F(Member, SaysThatTheServerHasNoTls) {
  auto client = Connect("https://" + server_->target());
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT((*client)->Choose(false),
              Fails(absl::StatusCode::kUnavailable, "does not speak TLS on this port"));
}

}  // namespace
}  // namespace cryptvol::etcd
