#include "s3/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/status.h"
#include "s3/config.h"
#include "s3/credential_sources.h"
#include "s3/ini_file.h"
#include "tests/s3/loopback_server.h"
#include "tests/s3/test_client.h"

namespace cryptvol::s3 {
namespace {

using ::testing::AllOf;
using testing::Answer;
using testing::ErrorAnswer;
using ::testing::HasSubstr;
using testing::InTurn;
using testing::LoopbackServer;
using ::testing::Not;
using testing::Received;
using ::testing::SizeIs;
using testing::Soon;
using ::testing::StartsWith;

using Code = absl::StatusCode;
using std::chrono::minutes;
using std::chrono::seconds;

// Without what would ask the network, unless a test says otherwise.
Environment With(std::map<std::string, std::string> values) {
  values.try_emplace("AWS_EC2_METADATA_DISABLED", "true");
  return [values](const std::string& name) {
    const auto it = values.find(name);
    return it != values.end() ? it->second : std::string();
  };
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string path = (std::filesystem::temp_directory_path() / "cryptvol-s3.XXXXXX").string();
    if (::mkdtemp(path.data()) != nullptr) path_ = path;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name) << text;
    return path_ + "/" + name;
  }
  std::string Path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string Text(const SecretBytes& bytes) { return {bytes.chars(), bytes.size()}; }

// "ID/SECRET/TOKEN", or the error.
std::string Found(const Environment& environment) {
  const auto found = DefaultCredentials(environment)->Get(Soon());
  if (!found.ok()) return found.status().ToString();
  return (*found)->access_key_id + "/" + Text((*found)->secret_access_key) + "/" +
         Text((*found)->session_token);
}

// The environment comes first.
TEST(Chain, TakesTheEnvironment) {
  EXPECT_EQ(Found(With({{"AWS_ACCESS_KEY_ID", "ID"}, {"AWS_SECRET_ACCESS_KEY", "SECRET"}})),
            "ID/SECRET/");
  EXPECT_EQ(Found(With({{"AWS_ACCESS_KEY_ID", "ID"},
                        {"AWS_SECRET_ACCESS_KEY", "SECRET"},
                        {"AWS_SESSION_TOKEN", "TOKEN"},
                        {"AWS_PROFILE", "not looked at"}})),
            "ID/SECRET/TOKEN");
}

// Half of a pair is a mistake, and not the place to fall back to another identity.
TEST(Chain, RefusesHalfAPair) {
  EXPECT_THAT(Found(With({{"AWS_ACCESS_KEY_ID", "ID"}})),
              HasSubstr("AWS_SECRET_ACCESS_KEY is not"));
  EXPECT_THAT(Found(With({{"AWS_SECRET_ACCESS_KEY", "hunter2"}})),
              AllOf(HasSubstr("AWS_ACCESS_KEY_ID is not"), Not(HasSubstr("hunter2"))));
}

// With nothing configured, the error lists where it looked.
TEST(Chain, SaysWhereItLooked) {
  const auto found = DefaultCredentials(With({}))->Get(Soon());
  EXPECT_EQ(found.status().code(), Code::kFailedPrecondition);
  for (const char* place :
       {"AWS_ACCESS_KEY_ID", "~/.aws/credentials", "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS", "AWS_EC2_METADATA_DISABLED"}) {
    EXPECT_THAT(Message(found.status()), HasSubstr(place));
  }
}

// The shared files as people write them: comments, settings of settings, Windows' line ends.
TEST(IniFile, IsParsed) {
  const IniFile file = ParseIni(
      "stray = 1\n# comment\n[default]\r\nRegion = eu-1 ; mine\r\n[ profile  dev ]\nrole_arn=a=b\n"
      "s3 =\n  addressing_style = path\nnonsense\n[broken\nx = 1\n");
  EXPECT_EQ(file.at("default").at("region"), "eu-1");
  EXPECT_EQ(file.at("profile dev").at("role_arn"), "a=b");
  EXPECT_EQ(file.at("profile dev").count("addressing_style"), 0u);
  EXPECT_EQ(file.at("profile dev").count("x"), 0u);
}

class SharedFiles : public ::testing::Test {
 protected:
  Environment Using(const std::string& keys, const std::string& config,
                    std::map<std::string, std::string> more = {}) {
    more["AWS_SHARED_CREDENTIALS_FILE"] = directory_.Write("credentials", keys);
    more["AWS_CONFIG_FILE"] = directory_.Write("config", config);
    return With(more);
  }
  TemporaryDirectory directory_;
};

// Keys of the profile that AWS_PROFILE names, or of "default"; the credentials file wins.
TEST_F(SharedFiles, GiveTheProfilesKeys) {
  const std::string keys =
      "[default]\naws_access_key_id = D\naws_secret_access_key = DS\n"
      "[dev]\naws_access_key_id = V\naws_secret_access_key = VS\naws_session_token = VT\n";
  const std::string config = "[default]\naws_access_key_id = X\naws_secret_access_key = XS\n";
  EXPECT_EQ(Found(Using(keys, config)), "D/DS/");
  EXPECT_EQ(Found(Using(keys, config, {{"AWS_PROFILE", "dev"}})), "V/VS/VT");
  EXPECT_EQ(Found(Using("", "[profile p]\naws_access_key_id=P\naws_secret_access_key=PS\n",
                        {{"AWS_PROFILE", "p"}})),
            "P/PS/");
}

// They are found below HOME.
TEST_F(SharedFiles, AreLookedForBelowHome) {
  std::filesystem::create_directory(directory_.Path(".aws"));
  directory_.Write(".aws/credentials",
                   "[default]\naws_access_key_id = H\naws_secret_access_key = HS\n");
  EXPECT_EQ(Found(With({{"HOME", directory_.Path("")}})), "H/HS/");
}

// A home that this user may not enter has no files; the environment's credentials do without. One
// that is no directory neither.
TEST_F(SharedFiles, AreNotNeeded) {
  std::map<std::string, std::string> values = {{"AWS_ACCESS_KEY_ID", "ID"},
                                               {"AWS_SECRET_ACCESS_KEY", "SECRET"},
                                               {"HOME", directory_.Write("no-directory", "")}};
  EXPECT_TRUE(ConfigFromEnvironment(With(values)).ok());
  EXPECT_EQ(Found(With(values)), "ID/SECRET/");
  values.erase("AWS_ACCESS_KEY_ID");
  values.erase("AWS_SECRET_ACCESS_KEY");
  EXPECT_THAT(Found(With(values)), HasSubstr("none in AWS_ACCESS_KEY_ID"));
}

// A profile that is nowhere, and one that wants what is not supported, are errors.
TEST_F(SharedFiles, RefuseWhatTheyCannotGive) {
  EXPECT_THAT(Found(Using("", "", {{"AWS_PROFILE", "gone"}})), HasSubstr("\"gone\""));
  EXPECT_THAT(Found(Using("", "[default]\nsso_session = x\n")), HasSubstr("sso_session"));
  EXPECT_THAT(Found(Using("[default]\naws_access_key_id = D\naws_secret_access_key = DS\n",
                          "[default]\nrole_arn = r\nsource_profile = s\n")),
              HasSubstr("role_arn"));
  EXPECT_THAT(Found(Using("[default]\naws_access_key_id = D\n", "")),
              HasSubstr("aws_secret_access_key is not"));
}

// Region and endpoint: the environment, then the profile, then us-east-1.
TEST_F(SharedFiles, GiveTheConfiguration) {
  const std::string config =
      "[default]\nregion = eu-1\nendpoint_url = https://own\nca_bundle = /ca.pem\n";
  const auto read = ConfigFromEnvironment(Using("", config));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->region, "eu-1");
  EXPECT_EQ(read->endpoint, "https://own");
  EXPECT_EQ(read->ca_bundle, "/ca.pem");
  const auto over = ConfigFromEnvironment(Using("", config,
                                                {{"AWS_DEFAULT_REGION", "eu-2"},
                                                 {"AWS_ENDPOINT_URL", "https://all"},
                                                 {"AWS_ENDPOINT_URL_S3", "https://s3"}}));
  EXPECT_EQ(over->region, "eu-2");
  EXPECT_EQ(over->endpoint, "https://s3");
  EXPECT_EQ(ConfigFromEnvironment(With({}))->region, "us-east-1");
  EXPECT_EQ(ConfigFromEnvironment(With({{"AWS_REGION", "x.evil.com/"}})).status().code(),
            Code::kInvalidArgument);
}

constexpr char kStsAnswer[] =
    "<AssumeRoleWithWebIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
    "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>SID</AccessKeyId>"
    "<SecretAccessKey>SS</SecretAccessKey><SessionToken>ST</SessionToken>"
    "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
    "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

// The token of the file, trimmed, goes to STS in the body, after trouble once more.
TEST_F(SharedFiles, AssumeARoleWithAWebIdentity) {
  LoopbackServer server(InTurn({ErrorAnswer(500, "InternalFailure"), Answer(200, kStsAnswer)}));
  const Environment environment =
      With({{"AWS_ROLE_ARN", "arn:aws:iam::1:role/r"},
            {"AWS_WEB_IDENTITY_TOKEN_FILE", directory_.Write("token", "to.ken\n")},
            {"AWS_ENDPOINT_URL_STS", server.url()}});
  EXPECT_EQ(Found(environment), "SID/SS/ST");
  const Received request = server.received().at(1);
  EXPECT_EQ(request.target, "/");
  EXPECT_EQ(request.body,
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3A"
            "role%2Fr&RoleSessionName=cryptvol&WebIdentityToken=to.ken");
}

// The same from a profile; a refusal says why, without the token.
TEST_F(SharedFiles, ReportWhatStsRefuses) {
  LoopbackServer server(InTurn({Answer(
      400, "<ErrorResponse><Error><Code>ExpiredTokenException</Code></Error></ErrorResponse>")}));
  const std::string config =
      "[default]\nrole_arn = r\nweb_identity_token_file = " + directory_.Write("token", "to.ken") +
      "\n";
  const std::string found = Found(Using("", config, {{"AWS_ENDPOINT_URL_STS", server.url()}}));
  EXPECT_THAT(found, AllOf(HasSubstr("ExpiredTokenException"), HasSubstr("get a new one"),
                           Not(HasSubstr("to.ken"))));
  EXPECT_THAT(server.received(), SizeIs(1));
}

// Identity tokens do not go over plain http to other machines.
TEST_F(SharedFiles, AskStsOverTlsOnly) {
  EXPECT_THAT(Found(With({{"AWS_ROLE_ARN", "r"},
                          {"AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere"},
                          {"AWS_ENDPOINT_URL_STS", "http://sts.example.com"}})),
              HasSubstr("plain http"));
}

constexpr char kJsonAnswer[] =
    R"({"Code":"Success","AccessKeyId":"CID","SecretAccessKey":"CS","Token":"CT",)"
    R"("Expiration":"2099-01-01T00:00:00Z"})";

// A container's service, with the token of a file.
TEST_F(SharedFiles, AskTheContainersService) {
  LoopbackServer server(InTurn({Answer(200, kJsonAnswer)}));
  EXPECT_EQ(
      Found(With({{"AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url() + "/creds?id=1"},
                  {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", directory_.Write("t", "tok\n")}})),
      "CID/CS/CT");
  EXPECT_EQ(server.received().at(0).target, "/creds?id=1");
  EXPECT_EQ(server.received().at(0).Header("authorization"), "tok");
}

// Its address is this machine's, a link-local one that is known, or has TLS.
TEST(ContainerService, IsAskedAtKnownHostsOnly) {
  const auto check = [](const std::string& url) {
    return ContainerSource(With({{"AWS_CONTAINER_CREDENTIALS_FULL_URI", url}})).status().code();
  };
  for (const char* url : {"http://169.254.170.23/v1", "http://169.254.170.2", "http://127.0.0.1:1",
                          "http://[fd00:ec2::23]/v1", "https://anywhere.example.com"}) {
    EXPECT_EQ(check(url), Code::kOk) << url;
  }
  for (const char* url : {"http://169.254.1.1", "http://example.com", "http://10.0.0.1",
                          "http://169.254.170.2@example.com", "file:///etc/passwd"}) {
    EXPECT_EQ(check(url), Code::kInvalidArgument) << url;
  }
  EXPECT_EQ(ContainerSource(With({{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/x"}}))
                .status()
                .code(),
            Code::kInvalidArgument);
}

// Version 2 of the instance's service: a token, the role's name, the role's keys.
TEST(InstanceService, IsAskedWithAToken) {
  LoopbackServer server(
      InTurn({Answer(200, "imds-token"), Answer(200, "my-role\n"), Answer(200, kJsonAnswer)}));
  EXPECT_EQ(Found(With({{"AWS_EC2_METADATA_DISABLED", ""},
                        {"AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url()}})),
            "CID/CS/CT");
  const std::vector<Received> requests = server.received();
  EXPECT_EQ(requests[0].method, "PUT");
  EXPECT_EQ(requests[0].target, "/latest/api/token");
  EXPECT_EQ(requests[0].Header("x-aws-ec2-metadata-token-ttl-seconds"), "300");
  EXPECT_EQ(requests[2].target, "/latest/meta-data/iam/security-credentials/my-role");
  EXPECT_EQ(requests[2].Header("x-aws-ec2-metadata-token"), "imds-token");
}

// A machine without a role, or a service that answers something else.
TEST(InstanceService, ReportsItsRefusal) {
  const auto found = [](const std::vector<testing::Reply>& replies) {
    LoopbackServer server(InTurn(replies));
    return Found(With(
        {{"AWS_EC2_METADATA_DISABLED", ""}, {"AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url()}}));
  };
  EXPECT_THAT(found({Answer(403)}), HasSubstr("none are configured"));
  EXPECT_THAT(found({Answer(200, "t"), Answer(404)}), HasSubstr("role is attached"));
  EXPECT_THAT(found({Answer(200, "t"), Answer(200, "r"), Answer(200, R"({"Code":"Failed"})")}),
              HasSubstr("no keys (Code \"Failed\")"));
}

class WrongJson : public ::testing::TestWithParam<std::string> {};

// Anything but keys is an error; and the text is wiped whatever it was.
TEST_P(WrongJson, IsDataLoss) {
  std::string text = GetParam();
  EXPECT_EQ(ParseCredentialsJson(text).status().code(), Code::kDataLoss);
  EXPECT_EQ(text, "");
}

INSTANTIATE_TEST_SUITE_P(
    Forms, WrongJson,
    ::testing::Values("<html>", "[]", "{}", R"({"AccessKeyId":1,"SecretAccessKey":"s"})",
                      R"({"AccessKeyId":"i","SecretAccessKey":"s","Expiration":"soon"})"));

// Times are in UTC.
TEST(Expiration, IsParsed) {
  EXPECT_EQ(ParseExpiration("1970-01-01T00:01:00Z"), WallClock::from_time_t(60));
  EXPECT_EQ(ParseExpiration("1970-01-01T00:01:00.123Z"), WallClock::from_time_t(60));
  EXPECT_EQ(ParseExpiration("1970-01-01T00:01:00+02:00"), std::nullopt);
  EXPECT_EQ(ParseExpiration("tomorrow"), std::nullopt);
  EXPECT_GT(*ParseExpiration("9999-12-31T23:59:59Z"), *ParseExpiration("2200-01-01T00:00:00Z"));
}

class Renewal : public ::testing::Test {
 protected:
  std::string Get() {
    const auto found = provider_->Get(Soon());
    return found.ok() ? (*found)->access_key_id : found.status().ToString();
  }

  WallClock::time_point now_ = WallClock::from_time_t(1'000'000);
  int fetched_ = 0;
  bool broken_ = false;
  std::unique_ptr<CredentialsProvider> provider_ = RenewingCredentials(
      [this](Deadline) -> absl::StatusOr<Credentials> {
        if (broken_) return absl::UnavailableError("broken");
        Credentials credentials;
        credentials.access_key_id = fmt::format("ID{}", ++fetched_);
        credentials.expires = now_ + minutes(60);
        return credentials;
      },
      [this] { return now_; });
};

// New ones are fetched before the old ones expire, not before.
TEST_F(Renewal, HappensInTime) {
  EXPECT_EQ(Get(), "ID1");
  now_ += minutes(54);
  EXPECT_EQ(Get(), "ID1");
  now_ += minutes(2);
  EXPECT_EQ(Get(), "ID2");
}

// When that fails, the old ones serve to their end, and not longer.
TEST_F(Renewal, ServesTheOldOnesToTheirEnd) {
  ASSERT_EQ(Get(), "ID1");
  broken_ = true;
  now_ += minutes(56);
  EXPECT_EQ(Get(), "ID1");
  now_ += minutes(5);
  EXPECT_THAT(Get(), HasSubstr("broken"));
  broken_ = false;
  now_ += seconds(11);
  EXPECT_EQ(Get(), "ID2");
}

}  // namespace
}  // namespace cryptvol::s3
