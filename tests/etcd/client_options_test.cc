#include "etcd/client_options.h"

#include <fstream>
#include <map>

#include "etcd/client.h"
#include "gtest/gtest.h"
#include "tests/etcd/etcd_server.h"
#include "tests/etcd/testing.h"

namespace cryptvol::etcd {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::Not;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

absl::Status Resolve(ClientOptions& options, const std::map<std::string, std::string>& variables) {
  return ResolveFromEnvironment(options, [&variables](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string PasswordOf(const ClientOptions& options) {
  return {options.password.chars(), options.password.size()};
}

absl::StatusOr<std::vector<Endpoint>> Parse(const std::string& endpoint,
                                            const std::string& ca_file = "") {
  ClientOptions options;
  options.endpoints = {endpoint};
  options.ca_file = ca_file;
  return ParseEndpoints(options);
}

// etcdctl's variables, as they stand in a control plane's environment.
TEST(ClientOptions, TakesEtcdctlsEnvironment) {
  ClientOptions options;
  ASSERT_THAT(Resolve(options, {{"ETCDCTL_ENDPOINTS", "https://a:2379,https://b:2379"},
                                {"ETCDCTL_CACERT", "ca"},
                                {"ETCDCTL_CERT", "cert"},
                                {"ETCDCTL_KEY", "key"},
                                {"ETCDCTL_USER", "root:a:b"}}),
              IsOk());
  EXPECT_THAT(options.endpoints, ElementsAre("https://a:2379", "https://b:2379"));
  EXPECT_EQ(options.ca_file, "ca");
  EXPECT_EQ(options.certificate_file, "cert");
  EXPECT_EQ(options.key_file, "key");
  EXPECT_EQ(options.user, "root");
  EXPECT_EQ(PasswordOf(options), "a:b");
}

// What was given explicitly stays, and an explicit user does not get another one's password.
TEST(ClientOptions, ExplicitOptionsComeFirst) {
  ClientOptions options;
  options.endpoints = {"c:2379"};
  options.ca_file = "mine";
  options.user = "backup";
  ASSERT_THAT(Resolve(options, {{"ETCDCTL_ENDPOINTS", "a:2379"},
                                {"ETCDCTL_CACERT", "ca"},
                                {"ETCDCTL_USER", "root:other"},
                                {"ETCDCTL_PASSWORD", "secret"}}),
              IsOk());
  EXPECT_THAT(options.endpoints, ElementsAre("c:2379"));
  EXPECT_EQ(options.ca_file, "mine");
  EXPECT_EQ(options.user, "backup");
  EXPECT_EQ(PasswordOf(options), "secret");

  ClientOptions without;
  without.user = "backup";
  EXPECT_THAT(Resolve(without, {{"ETCDCTL_USER", "root:other"}}),
              Fails(kInvalid, "(backup) but no password"));
}

// Nothing at all is etcdctl's default.
TEST(ClientOptions, HasEtcdctlsDefault) {
  ClientOptions options;
  ASSERT_THAT(Resolve(options, {}), IsOk());
  EXPECT_THAT(options.endpoints, ElementsAre("127.0.0.1:2379"));
  EXPECT_TRUE(options.user.empty());
}

// The first line of the file, without the end that editors add.
TEST(ClientOptions, ReadsThePasswordFromAFile) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory.File("password")) << "se cret\r\nnot this\n";
  ClientOptions options;
  options.user = "root";
  options.password_file = directory.File("password");
  ASSERT_THAT(Resolve(options, {{"ETCDCTL_PASSWORD", "other"}}), IsOk());
  EXPECT_EQ(PasswordOf(options), "se cret");

  options.password_file = directory.File("absent");
  EXPECT_THAT(Resolve(options, {}), Fails(absl::StatusCode::kNotFound, "absent"));
}

// A password on the command line is refused, and not repeated.
TEST(ClientOptions, RefusesAPasswordInTheUser) {
  ClientOptions options;
  options.user = "root:hunter2";
  const absl::Status status = Resolve(options, {});
  EXPECT_THAT(status, Fails(kInvalid, "does not belong on the command line"));
  EXPECT_THAT(Message(status), Not(HasSubstr("hunter2")));
}

// A password alone is a mistake too.
TEST(ClientOptions, RefusesAPasswordWithoutAUser) {
  ClientOptions options;
  EXPECT_THAT(Resolve(options, {{"ETCDCTL_PASSWORD", "secret"}}), Fails(kInvalid, "but no user"));
}

// The scheme says whether it is TLS; without one, the files do.
TEST(Endpoints, AreTlsAsEtcdctlHasIt) {
  const auto endpoint = [](const std::string& text, const std::string& ca) {
    const auto parsed = Parse(text, ca);
    EXPECT_THAT(parsed, IsOk());
    return parsed.ok() ? parsed->front() : Endpoint();
  };
  EXPECT_FALSE(endpoint("a:2379", "").tls);
  EXPECT_TRUE(endpoint("a:2379", "ca").tls);
  EXPECT_TRUE(endpoint("https://a:2379", "").tls);
  EXPECT_FALSE(endpoint("http://a:2379", "").tls);
  EXPECT_EQ(endpoint("https://a.b:2379/", "").target, "a.b:2379");
  EXPECT_EQ(endpoint("https://[::1]:2379", "").target, "[::1]:2379");
}

// What was to be protected does not go in the clear by a missing letter.
TEST(Endpoints, RefusesHttpWithTlsFiles) {
  EXPECT_THAT(Parse("http://a:2379", "ca"), Fails(kInvalid, "http:// is not encrypted"));
}

// Things that are no endpoint.
TEST(Endpoints, RefusesOtherForms) {
  for (const char* text : {"", "a", "a:", ":2379", "a:0", "a:65536", "a:b", "https://a", "a:1/path",
                           "a b:1", "::1:2379", "[]:1", "https://"}) {
    EXPECT_THAT(Parse(text), Fails(kInvalid, "this is not HOST:PORT")) << text;
  }
  EXPECT_THAT(Parse("unix:///run/etcd"), Fails(kInvalid, "unix:// is not supported"));
  ClientOptions none;
  EXPECT_THAT(ParseEndpoints(none), Fails(kInvalid, "no endpoint"));
}

// The part before an @ may be a password.
TEST(Endpoints, DoesNotRepeatACredential) {
  const auto parsed = Parse("https://root:hunter2@a:2379");
  EXPECT_THAT(parsed, Fails(kInvalid, "contains an @"));
  EXPECT_THAT(Message(parsed.status()), Not(HasSubstr("hunter2")));
}

class TlsFiles : public ::testing::Test {
 protected:
  absl::Status Create(const std::string& ca, const std::string& certificate,
                      const std::string& key) {
    ClientOptions options;
    options.endpoints = {"https://127.0.0.1:2379"};
    options.ca_file = ca;
    options.certificate_file = certificate;
    options.key_file = key;
    return Client::Create(std::move(options)).status();
  }

  const testing::TemporaryDirectory directory_;
  const testing::Certificate ca_ = testing::MakeCa(directory_, "ca");
};

// Every mistake in the files is named before anything is connected.
TEST_F(TlsFiles, AreCheckedBeforeUse) {
  const auto other = testing::MakeCa(directory_, "other");
  std::ofstream(directory_.File("empty")).close();
  const std::string absent = directory_.File("absent");
  const std::string empty = directory_.File("empty");
  EXPECT_THAT(Create(ca_.certificate_file, ca_.certificate_file, ca_.key_file), IsOk());
  EXPECT_THAT(Create(absent, "", ""), Fails(absl::StatusCode::kNotFound, absent));
  EXPECT_THAT(Create(empty, "", ""), Fails(kInvalid, "no certificate in PEM form"));
  EXPECT_THAT(Create(ca_.key_file, "", ""), Fails(kInvalid, "no certificate in PEM form"));
  EXPECT_THAT(Create("", ca_.certificate_file, ""), Fails(kInvalid, "the key is missing"));
  EXPECT_THAT(Create("", "", ca_.key_file), Fails(kInvalid, "the certificate is missing"));
  EXPECT_THAT(Create("", ca_.certificate_file, empty), Fails(kInvalid, "no private key"));
  EXPECT_THAT(Create("", ca_.certificate_file, other.key_file),
              Fails(kInvalid, "is not the key of the certificate"));
}

}  // namespace
}  // namespace cryptvol::etcd
