// Faults that a real server does not produce on request.
#include "etcd/snapshot_source.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <thread>

#include "base/sha256.h"
#include "etcd/client.h"
#include "gtest/gtest.h"
#include "proto/etcd.grpc.pb.h"
#include "tests/etcd/testing.h"

namespace cryptvol::etcd {
namespace {

using etcdserverpb::SnapshotRequest;
using etcdserverpb::SnapshotResponse;
using ::testing::AllOf;
using testing::Drain;
using testing::Drained;
using testing::Fails;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::Not;

using Code = absl::StatusCode;
using Writer = grpc::ServerWriter<SnapshotResponse>;

constexpr size_t kDatabaseBytes = 3 * 4096;
constexpr size_t kBlobBytes = 4096;

std::string Database() {
  std::string bytes(kDatabaseBytes, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 + i / 256);
  return bytes;
}

std::string DigestOf(const std::string& text) {
  Sha256Stream hash;
  hash.Update({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  const Sha256Digest digest = hash.Finish();
  return {digest.begin(), digest.end()};
}

void SendBlob(Writer* writer, const std::string& blob, uint64_t remaining) {
  SnapshotResponse response;
  response.set_blob(blob);
  response.set_remaining_bytes(remaining);
  response.set_version("3.6.0");
  writer->Write(response);
}

// The first `bytes` of the database, as etcd sends them.
void SendDatabase(Writer* writer, size_t bytes = kDatabaseBytes) {
  const std::string database = Database();
  for (size_t at = 0; at < bytes; at += kBlobBytes) {
    SendBlob(writer, database.substr(at, kBlobBytes), kDatabaseBytes - at - kBlobBytes);
  }
}

class FakeMaintenance : public etcdserverpb::Maintenance::Service {
 public:
  std::function<grpc::Status(grpc::ServerContext*, Writer*)> snapshot;
  etcdserverpb::AlarmResponse alarms;

  grpc::Status Snapshot(grpc::ServerContext* context, const SnapshotRequest*,
                        Writer* writer) override {
    return snapshot(context, writer);
  }
  grpc::Status Status(grpc::ServerContext*, const etcdserverpb::StatusRequest*,
                      etcdserverpb::StatusResponse* response) override {
    response->mutable_header()->set_member_id(5);
    response->set_leader(5);
    return grpc::Status::OK;
  }
  grpc::Status Alarm(grpc::ServerContext*, const etcdserverpb::AlarmRequest*,
                     etcdserverpb::AlarmResponse* response) override {
    *response = alarms;
    return grpc::Status::OK;
  }
};

class FakeKv : public etcdserverpb::KV::Service {
 public:
  grpc::Status Range(grpc::ServerContext*, const etcdserverpb::RangeRequest* request,
                     etcdserverpb::RangeResponse* response) override {
    linearizable = !request->serializable();
    response->mutable_header()->set_revision(42);
    return grpc::Status::OK;
  }
  std::atomic<bool> linearizable = false;
};

// Counts logins, and gives a new token for each.
class FakeAuth : public etcdserverpb::Auth::Service {
 public:
  grpc::Status Authenticate(grpc::ServerContext*, const etcdserverpb::AuthenticateRequest* request,
                            etcdserverpb::AuthenticateResponse* response) override {
    if (request->password() != "secret") {
      return {grpc::StatusCode::INVALID_ARGUMENT,
              "etcdserver: authentication failed, invalid user ID or password"};
    }
    response->set_token(fmt::format("token-{}", ++logins));
    return grpc::Status::OK;
  }
  std::atomic<int> logins = 0;
};

class SnapshotSourceTest : public ::testing::Test {
 protected:
  SnapshotSourceTest() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&maintenance_);
    builder.RegisterService(&kv_);
    builder.RegisterService(&auth_);
    server_ = builder.BuildAndStart();
  }

  absl::StatusOr<std::unique_ptr<Client>> Connect(bool with_user = false) {
    ClientOptions options;
    options.endpoints = {fmt::format("127.0.0.1:{}", port_)};
    options.idle_timeout = std::chrono::milliseconds(300);
    if (with_user) {
      options.user = "root";
      CV_ASSIGN_OR_RETURN(options.password, SecretBytes::CopyOf(std::string_view("secret")));
    }
    return Client::Create(std::move(options));
  }

  absl::StatusOr<std::unique_ptr<SnapshotSource>> Open(bool with_user = false) {
    CV_ASSIGN_OR_RETURN(client_, Connect(with_user));
    CV_ASSIGN_OR_RETURN(const Choice choice, client_->Choose(false));
    return choice.connection->TakeSnapshot();
  }

  // What comes of a server that answers like this.
  Drained Take(std::function<grpc::Status(Writer*)> answer) {
    maintenance_.snapshot = [answer = std::move(answer)](grpc::ServerContext*, Writer* writer) {
      return answer(writer);
    };
    auto source = Open();
    return source.ok() ? Drain(**source) : Drained{{}, source.status()};
  }

  FakeMaintenance maintenance_;
  FakeKv kv_;
  FakeAuth auth_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Client> client_;
};

// The good case: everything, then the digest, then the end, again and again.
TEST_F(SnapshotSourceTest, GivesTheDatabaseAndItsDigest) {
  maintenance_.snapshot = [](grpc::ServerContext*, Writer* writer) {
    SendDatabase(writer);
    SendBlob(writer, "", 0);
    SendBlob(writer, DigestOf(Database()), 0);
    return grpc::Status::OK;
  };
  auto source = Open();
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ((*source)->expected_bytes(), kDatabaseBytes + 32);
  EXPECT_EQ((*source)->storage_version(), "3.6.0");
  const Drained drained = Drain(**source);
  EXPECT_THAT(drained.status, IsOk());
  EXPECT_EQ(std::string(drained.bytes.begin(), drained.bytes.end()),
            Database() + DigestOf(Database()));
  EXPECT_THAT(Drain(**source).status, IsOk());
  EXPECT_TRUE(Drain(**source).bytes.empty());
}

// A digest that comes in pieces, glued to the data, is the same digest.
TEST_F(SnapshotSourceTest, DoesNotDependOnTheSizesOfMessages) {
  const std::string all = Database() + DigestOf(Database());
  const Drained drained = Take([&all](Writer* writer) {
    SendBlob(writer, all.substr(0, 7), kDatabaseBytes - 7);
    SendBlob(writer, all.substr(7, kDatabaseBytes + 4), 0);
    SendBlob(writer, all.substr(kDatabaseBytes + 11), 0);
    return grpc::Status::OK;
  });
  EXPECT_THAT(drained.status, IsOk());
  EXPECT_EQ(std::string(drained.bytes.begin(), drained.bytes.end()), all);
}

// A wrong digest: the data came, but the end does not.
TEST_F(SnapshotSourceTest, RefusesAWrongDigest) {
  const Drained drained = Take([](Writer* writer) {
    SendDatabase(writer);
    SendBlob(writer, DigestOf("something else"), 0);
    return grpc::Status::OK;
  });
  EXPECT_THAT(drained.status, Fails(Code::kDataLoss, "does not match the SHA-256"));
  EXPECT_EQ(drained.bytes.size(), kDatabaseBytes);
}

// A server that dies in the middle.
TEST_F(SnapshotSourceTest, ReportsACutStream) {
  const Drained drained = Take([](Writer* writer) {
    SendDatabase(writer, 2 * kBlobBytes);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: server stopped");
  });
  EXPECT_THAT(drained.status, Fails(Code::kUnavailable, "cut after 8192 of 12320 bytes"));
  EXPECT_THAT(drained.status, Fails(Code::kUnavailable, "server stopped"));
}

// After an error there are no more bytes, and no end.
TEST_F(SnapshotSourceTest, KeepsItsError) {
  maintenance_.snapshot = [](grpc::ServerContext*, Writer* writer) {
    SendDatabase(writer, kBlobBytes);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
  };
  auto source = Open();
  ASSERT_THAT(source, IsOk());
  EXPECT_THAT(Drain(**source).status, Fails(Code::kUnavailable, "gone"));
  const Drained again = Drain(**source);
  EXPECT_THAT(again.status, Fails(Code::kUnavailable, "gone"));
  EXPECT_TRUE(again.bytes.empty());
}

// A stream that ends well but too early.
TEST_F(SnapshotSourceTest, RefusesAShortStream) {
  const Drained drained = Take([](Writer* writer) {
    SendDatabase(writer, 2 * kBlobBytes);
    return grpc::Status::OK;
  });
  EXPECT_THAT(drained.status, Fails(Code::kDataLoss, "sent 8192 bytes, of a database of 12288"));
}

// One that sends more than it said does not fill the disk.
TEST_F(SnapshotSourceTest, RefusesALongStream) {
  const Drained drained = Take([](Writer* writer) {
    SendDatabase(writer);
    SendDatabase(writer);
    return grpc::Status::OK;
  });
  EXPECT_THAT(drained.status, Fails(Code::kDataLoss, "of a database of 12288"));
}

// Claims that no sum can hold, and one that only asks for memory: what stores the snapshot goes by
// them.
TEST_F(SnapshotSourceTest, RefusesAnAbsurdSize) {
  for (const uint64_t remaining : {~uint64_t{0}, uint64_t{1} << 50, (uint64_t{1} << 40) + 1}) {
    const Drained drained = Take([remaining](Writer* writer) {
      SendBlob(writer, Database(), remaining);
      return grpc::Status::OK;
    });
    EXPECT_THAT(drained.status, Fails(Code::kDataLoss, "announces a database of"));
  }
}

// Servers from before the digest.
TEST_F(SnapshotSourceTest, RefusesAServerWithoutDigest) {
  const Drained drained = Take([](Writer* writer) {
    SendDatabase(writer);
    return grpc::Status::OK;
  });
  EXPECT_THAT(drained.status, Fails(Code::kFailedPrecondition, "sent no SHA-256"));
  EXPECT_LT(drained.bytes.size(), kDatabaseBytes);
}

// Nothing at all is not an empty snapshot.
TEST_F(SnapshotSourceTest, RefusesAnEmptyStream) {
  const Drained drained = Take([](Writer*) { return grpc::Status::OK; });
  EXPECT_THAT(drained.status, Fails(Code::kDataLoss, "sent 0 bytes"));
}

// A member that hangs: the wait ends, and giving up ends the call at the server.
TEST_F(SnapshotSourceTest, EndsAfterIdleTime) {
  std::atomic<bool> cancelled = false;
  maintenance_.snapshot = [&cancelled](grpc::ServerContext* context, Writer* writer) {
    SendDatabase(writer, kBlobBytes);
    while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    cancelled = true;
    return grpc::Status::OK;
  };
  auto source = Open();
  ASSERT_THAT(source, IsOk());
  const Drained drained = Drain(**source);
  EXPECT_THAT(drained.status, Fails(Code::kDeadlineExceeded, "no bytes came for 0.3 s"));
  EXPECT_THAT(drained.status, Fails(Code::kDeadlineExceeded, "after 4096 of 12320"));
  source->reset();
  server_->Shutdown();  // waits for the call
  EXPECT_TRUE(cancelled);
}

// Messages without bytes are not progress.
TEST_F(SnapshotSourceTest, EmptyMessagesAreIdleTime) {
  maintenance_.snapshot = [](grpc::ServerContext* context, Writer* writer) {
    while (!context->IsCancelled()) {
      SendBlob(writer, "", kDatabaseBytes);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return grpc::Status::OK;
  };
  EXPECT_THAT(Open(), Fails(Code::kDeadlineExceeded, "no bytes came"));
}

// An error before the first bytes is one of opening.
TEST_F(SnapshotSourceTest, ReportsARefusalAtOnce) {
  maintenance_.snapshot = [](grpc::ServerContext*, Writer*) {
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "etcdserver: permission denied");
  };
  EXPECT_THAT(Open(), Fails(Code::kPermissionDenied, "a user with the role root"));
}

// Foreign text does not bring control characters into a message.
TEST_F(SnapshotSourceTest, CleansForeignText) {
  maintenance_.snapshot = [](grpc::ServerContext*, Writer*) {
    return grpc::Status(grpc::StatusCode::INTERNAL, "a\x1b[31m\nb");
  };
  EXPECT_THAT(Open(), Fails(Code::kFailedPrecondition, "a?[31m?b"));
}

// A token that the server no longer knows is replaced once, without anybody noticing.
TEST_F(SnapshotSourceTest, LogsInAgainWhenTheTokenIsStale) {
  maintenance_.snapshot = [](grpc::ServerContext* context, Writer* writer) {
    const auto token = context->client_metadata().find("token");
    if (token == context->client_metadata().end() || token->second != "token-2") {
      return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "etcdserver: invalid auth token");
    }
    SendDatabase(writer);
    SendBlob(writer, DigestOf(Database()), 0);
    return grpc::Status::OK;
  };
  auto source = Open(/*with_user=*/true);
  ASSERT_THAT(source, IsOk());
  EXPECT_THAT(Drain(**source).status, IsOk());
  EXPECT_EQ(auth_.logins, 2);
}

// But not for ever.
TEST_F(SnapshotSourceTest, LogsInAgainOnlyOnce) {
  maintenance_.snapshot = [](grpc::ServerContext*, Writer*) {
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "etcdserver: invalid auth token");
  };
  EXPECT_THAT(Open(/*with_user=*/true), Fails(Code::kUnauthenticated, "invalid auth token"));
  EXPECT_EQ(auth_.logins, 2);
}

// The alarm CORRUPT stops everything, unless the user wants what there is.
TEST_F(SnapshotSourceTest, RefusesACorruptCluster) {
  auto* alarm = maintenance_.alarms.add_alarms();
  alarm->set_memberid(5);
  alarm->set_alarm(etcdserverpb::CORRUPT);
  auto client = Connect();
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT((*client)->Choose(false), Fails(Code::kDataLoss, "alarm CORRUPT"));
  const auto choice = (*client)->Choose(true);
  ASSERT_THAT(choice, IsOk());
  EXPECT_THAT(choice->warnings, ::testing::Contains(HasSubstr("alarm CORRUPT")));
}

// NOSPACE is said, and hinders nothing; the revision comes from a linearizable read.
TEST_F(SnapshotSourceTest, WarnsOfAFullCluster) {
  maintenance_.alarms.add_alarms()->set_alarm(etcdserverpb::NOSPACE);
  auto client = Connect(/*with_user=*/true);
  ASSERT_THAT(client, IsOk());
  const auto choice = (*client)->Choose(false);
  ASSERT_THAT(choice, IsOk());
  EXPECT_EQ(choice->chosen.revision, 42);
  EXPECT_TRUE(kv_.linearizable);
  EXPECT_THAT(choice->warnings, ::testing::UnorderedElementsAre(HasSubstr("alarm NOSPACE"),
                                                                HasSubstr("sent unencrypted")));
}

}  // namespace
}  // namespace cryptvol::etcd
