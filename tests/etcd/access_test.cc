// TLS and users, with the installed etcd.
#include <stdlib.h>

#include "etcd/client.h"
#include "gtest/gtest.h"
#include "tests/etcd/etcd_server.h"
#include "tests/etcd/testing.h"

namespace cryptvol::etcd {
namespace {

using testing::Certificate;
using testing::Drain;
using testing::Etcdctl;
using testing::EtcdServer;
using testing::Fails;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::MakeCa;
using testing::MakeCertificate;
using ::testing::Not;
using testing::TemporaryDirectory;

using Code = absl::StatusCode;

absl::Status TakeSnapshot(ClientOptions options) {
  CV_ASSIGN_OR_RETURN(const auto client, Client::Create(std::move(options)));
  CV_ASSIGN_OR_RETURN(const Choice choice, client->Choose(false));
  CV_ASSIGN_OR_RETURN(const auto source, choice.connection->TakeSnapshot());
  return Drain(*source).status;
}

// A server whose certificate is for the name etcd.example and the loopback's address, and which
// wants client certificates.
class Tls : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // gRPC's other resolver, c-ares, leaks a few bytes for each host name that it finds in a file.
    ::setenv("GRPC_DNS_RESOLVER", "native", 1);
    directory_ = std::make_unique<TemporaryDirectory>();
    ca_ = MakeCa(*directory_, "ca");
    other_ca_ = MakeCa(*directory_, "other-ca");
    client_ = MakeCertificate(*directory_, ca_, "client", "DNS:client");
    const auto server =
        MakeCertificate(*directory_, ca_, "server", "IP:127.0.0.1,DNS:etcd.example");
    auto started = EtcdServer::Start(
        {.args = {"--cert-file", server.certificate_file, "--key-file", server.key_file,
                  "--client-cert-auth", "--trusted-ca-file", ca_.certificate_file},
         .tls = true});
    ASSERT_THAT(started, IsOk());
    server_ = *std::move(started);
    ASSERT_THAT(server_->WaitUntilItListens(), IsOk());
  }
  static void TearDownTestSuite() {
    server_.reset();
    directory_.reset();
  }

  static ClientOptions Options(const Certificate& ca, const Certificate& certificate) {
    ClientOptions options;
    options.endpoints = {server_->url()};
    options.ca_file = ca.certificate_file;
    options.certificate_file = certificate.certificate_file;
    options.key_file = certificate.key_file;
    return options;
  }

  static std::unique_ptr<TemporaryDirectory> directory_;
  static std::unique_ptr<EtcdServer> server_;
  static Certificate ca_;
  static Certificate other_ca_;
  static Certificate client_;
};

std::unique_ptr<TemporaryDirectory> Tls::directory_;
std::unique_ptr<EtcdServer> Tls::server_;
Certificate Tls::ca_;
Certificate Tls::other_ca_;
Certificate Tls::client_;

// With the right files, by address and without a scheme.
TEST_F(Tls, WorksWithTheRightFiles) {
  EXPECT_THAT(TakeSnapshot(Options(ca_, client_)), IsOk());
  ClientOptions no_scheme = Options(ca_, client_);
  no_scheme.endpoints = {server_->target()};
  EXPECT_THAT(TakeSnapshot(std::move(no_scheme)), IsOk());
}

// A server that somebody else's CA vouches for.
TEST_F(Tls, RefusesAnotherCa) {
  EXPECT_THAT(TakeSnapshot(Options(other_ca_, client_)),
              Fails(Code::kUnauthenticated, other_ca_.certificate_file));
  EXPECT_THAT(TakeSnapshot(Options({}, client_)),
              Fails(Code::kUnauthenticated, "not signed by a CA of this system"));
}

// The hint is the client's: the server just closes.
TEST_F(Tls, HintsAtAMissingClientCertificate) {
  EXPECT_THAT(TakeSnapshot(Options(ca_, {})),
              Fails(Code::kUnavailable, "it wants a client certificate"));
}

// A certificate that the server's CA did not sign.
TEST_F(Tls, HintsAtAWrongClientCertificate) {
  const auto stranger = MakeCertificate(*directory_, other_ca_, "stranger", "DNS:stranger");
  EXPECT_THAT(TakeSnapshot(Options(ca_, stranger)),
              Fails(Code::kUnavailable, "does not accept the client certificate"));
}

// The name that is checked can be given, and is checked.
TEST_F(Tls, ChecksTheServersName) {
  ClientOptions right = Options(ca_, client_);
  right.server_name = "etcd.example";
  EXPECT_THAT(TakeSnapshot(std::move(right)), IsOk());
  ClientOptions wrong = Options(ca_, client_);
  wrong.server_name = "other.example";
  EXPECT_THAT(TakeSnapshot(std::move(wrong)),
              Fails(Code::kUnauthenticated, "certificate is not for other.example"));
  ClientOptions by_name = Options(ca_, client_);
  by_name.endpoints = {fmt::format("https://localhost:{}",
                                   server_->target().substr(server_->target().find(':') + 1))};
  EXPECT_THAT(TakeSnapshot(std::move(by_name)),
              Fails(Code::kUnauthenticated, "not for the host of this endpoint"));
}

// Plaintext to a server with TLS.
TEST_F(Tls, HintsAtHttps) {
  ClientOptions options;
  options.endpoints = {server_->target()};
  EXPECT_THAT(TakeSnapshot(std::move(options)), Fails(Code::kUnavailable, "use https://"));
}

// A server with users: root, and one that may read a key.
class Users : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = EtcdServer::Start({.args = {"--bcrypt-cost", "4"}});
    ASSERT_THAT(started, IsOk());
    server_ = *std::move(started);
    ASSERT_THAT(server_->WaitUntilItListens(), IsOk());
    const std::vector<std::vector<std::string>> commands = {
        {"user", "add", "root:secret"},
        {"role", "add", "reader"},
        {"role", "grant-permission", "reader", "read", "", "--prefix"},
        {"user", "add", "reader:secret"},
        {"user", "grant-role", "reader", "reader"},
        {"user", "grant-role", "root", "root"},
        {"auth", "enable"}};
    for (std::vector<std::string> command : commands) {
      command.insert(command.begin(), {"--endpoints", server_->target()});
      ASSERT_THAT(Etcdctl(command), IsOk());
    }
  }
  static void TearDownTestSuite() { server_.reset(); }

  static ClientOptions Options(const std::string& user, const std::string& password) {
    ClientOptions options;
    options.endpoints = {server_->target()};
    options.user = user;
    auto secret = SecretBytes::CopyOf(std::string_view(password));
    EXPECT_THAT(secret, IsOk());
    if (secret.ok()) options.password = *std::move(secret);
    return options;
  }

  static std::unique_ptr<EtcdServer> server_;
};

std::unique_ptr<EtcdServer> Users::server_;

// root takes snapshots.
TEST_F(Users, RootMay) { EXPECT_THAT(TakeSnapshot(Options("root", "secret")), IsOk()); }

// Without a user, the error says what to give.
TEST_F(Users, NobodyMayNot) {
  EXPECT_THAT(TakeSnapshot(Options("", "")),
              Fails(Code::kUnauthenticated, "give a user and password"));
}

// A wrong password is named as that, and not repeated.
TEST_F(Users, AWrongPasswordIsRefused) {
  const absl::Status status = TakeSnapshot(Options("root", "hunter2"));
  EXPECT_THAT(status, Fails(Code::kUnauthenticated, "the user or the password is wrong"));
  EXPECT_THAT(Message(status), Not(HasSubstr("hunter2")));
}

// A user without the role root learns which role it takes.
TEST_F(Users, AnotherUserMayNot) {
  EXPECT_THAT(TakeSnapshot(Options("reader", "secret")),
              Fails(Code::kPermissionDenied, "the role root"));
}

// A user on a cluster that has authentication switched off is no mistake: it will be switched on.
TEST(UsersOff, AUserIsNotNeededButMayBeGiven) {
  auto server = EtcdServer::Start({});
  ASSERT_THAT(server, IsOk());
  ASSERT_THAT((*server)->WaitUntilItListens(), IsOk());
  ClientOptions options;
  options.endpoints = {(*server)->target()};
  options.user = "root";
  options.password = SecretBytes::CopyOf(std::string_view("secret")).value();
  EXPECT_THAT(TakeSnapshot(std::move(options)), IsOk());
}

}  // namespace
}  // namespace cryptvol::etcd
