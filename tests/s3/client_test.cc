#include "s3/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "base/status.h"
#include "s3/digest.h"
#include "tests/s3/loopback_server.h"
#include "tests/s3/test_client.h"

namespace cryptvol::s3 {
namespace {

using ::testing::AllOf;
using testing::Answer;
using testing::CutShort;
using testing::ErrorAnswer;
using testing::Hangup;
using ::testing::HasSubstr;
using testing::InTurn;
using ::testing::IsEmpty;
using testing::LoopbackServer;
using ::testing::Not;
using testing::Received;
using testing::Reply;
using ::testing::SizeIs;
using testing::Soon;
using testing::TestClient;
using testing::TestConfig;

using Code = absl::StatusCode;

const Reply kStored = Answer(200, "", "ETag: \"e1\"\r\nx-amz-version-id: v1\r\n");
const PutOptions kNew = {.conditions = {.must_not_exist = true}};

absl::StatusOr<StoredObject> Put(Client& client, const PutOptions& options = {}) {
  return client.PutObject("key", AsBytes("content"), options, Soon());
}

// The key, its odd bytes included, is encoded once in the path; the body is hashed over plain http.
TEST(PutObject, SendsWhatItSigned) {
  LoopbackServer server(InTurn({kStored}));
  const auto client = TestClient(server.url());
  const auto stored =
      client->PutObject("a b/../\x1b+%", AsBytes("content"),
                        {.content_type = "text/x", .metadata = {{"run", "7"}}}, Soon());
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->etag, "\"e1\"");
  EXPECT_EQ(stored->version_id, "v1");
  const Received request = server.received().at(0);
  EXPECT_EQ(request.method, "PUT");
  EXPECT_EQ(request.target, "/bucket/a%20b/../%1B%2B%25");
  EXPECT_EQ(request.body, "content");
  EXPECT_EQ(request.Header("host"), server.authority());
  EXPECT_EQ(request.Header("x-amz-content-sha256"), Hex(Sha256(AsBytes("content"))));
  EXPECT_EQ(request.Header("x-amz-meta-run"), "7");
  EXPECT_EQ(request.Header("content-type"), "text/x");
  EXPECT_THAT(request.Header("authorization"),
              HasSubstr("SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;"
                        "x-amz-meta-run,"));
  EXPECT_EQ(request.headers.count("expect"), 0u);
}

// A session token is sent and signed.
TEST(PutObject, SendsTheSessionToken) {
  LoopbackServer server(InTurn({kStored}));
  auto client = Client::Create(TestConfig(server.url()), "bucket",
                               testing::TestCredentials(testing::kSessionToken));
  ASSERT_TRUE(Put(**client).ok());
  EXPECT_EQ(server.received().at(0).Header("x-amz-security-token"), testing::kSessionToken);
  EXPECT_THAT(server.received().at(0).Header("authorization"), HasSubstr("x-amz-security-token"));
}

// Buckets with Object Lock want a checksum header.
TEST(PutObject, SendsContentMd5WhenAsked) {
  LoopbackServer server(InTurn({kStored}));
  Config config = TestConfig(server.url());
  config.content_md5 = true;
  ASSERT_TRUE(Put(*TestClient(config)).ok());
  EXPECT_EQ(server.received().at(0).Header("content-md5"), "mgNkuembtIDdJeHwKEyFVQ==");
}

class PassingTrouble : public ::testing::TestWithParam<Reply> {};

// What passes by itself is tried again, with the whole body.
TEST_P(PassingTrouble, IsTriedAgain) {
  LoopbackServer server(InTurn({GetParam(), GetParam(), kStored}));
  const auto stored = Put(*TestClient(server.url()));
  ASSERT_TRUE(stored.ok()) << stored.status();
  ASSERT_THAT(server.received(), SizeIs(3));
  EXPECT_EQ(server.received().at(2).body, "content");
}

INSTANTIATE_TEST_SUITE_P(Kinds, PassingTrouble,
                         ::testing::Values(ErrorAnswer(500, "InternalError"),
                                           ErrorAnswer(503, "SlowDown"), Answer(502, "<html>"),
                                           Answer(504), Answer(429),
                                           ErrorAnswer(400, "RequestTimeout"), Hangup(),
                                           CutShort(Answer(200, "xxxx"), 2),
                                           ErrorAnswer(409, "ConditionalRequestConflict")));

// The tries are bounded, and the error says how many there were.
TEST(Retries, EndWithAnError) {
  LoopbackServer server(InTurn({ErrorAnswer(503, "SlowDown")}));
  const absl::Status status = Put(*TestClient(server.url())).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(Message(status), AllOf(HasSubstr("PutObject s3://bucket/key: SlowDown (HTTP 503)"),
                                     HasSubstr("REQ7"), HasSubstr("tried 4 times")));
  EXPECT_THAT(server.received(), SizeIs(4));
}

// No try begins after the deadline.
TEST(Retries, EndWithTheDeadline) {
  LoopbackServer server(InTurn({ErrorAnswer(500, "InternalError")}));
  Config config = TestConfig(server.url());
  config.retry = {.max_tries = 1000,
                  .first_wait = std::chrono::milliseconds(50),
                  .max_wait = std::chrono::milliseconds(50)};
  const auto began = std::chrono::steady_clock::now();
  const absl::Status status =
      TestClient(config)->DeleteObject("k", Deadline::After(std::chrono::milliseconds(400)));
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_THAT(Message(status), HasSubstr("InternalError"));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
}

// A last try that hears nothing does not hide what the one before it was told.
TEST(Retries, NameWhatTheTryBeforeWasTold) {
  LoopbackServer server(InTurn({ErrorAnswer(500, "InternalError"), Reply{}}));
  const absl::Status status =
      TestClient(server.url())->DeleteObject("k", Deadline::After(std::chrono::milliseconds(700)));
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_THAT(Message(status), AllOf(HasSubstr("try 2"), HasSubstr("InternalError")));
}

// A server that takes the request and says nothing is given up at the deadline.
TEST(Retries, DoNotWaitForSilence) {
  LoopbackServer server([](const Received&) { return Reply{}; });
  const auto began = std::chrono::steady_clock::now();
  const absl::Status status =
      TestClient(server.url())->DeleteObject("k", Deadline::After(std::chrono::milliseconds(300)));
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
}

// A transfer that stands still is given up long before the deadline, and tried again.
TEST(Retries, EndStalledTransfers) {
  LoopbackServer server(InTurn({Reply{}, Answer(204)}));
  Config config = TestConfig(server.url());
  config.stall_timeout = std::chrono::seconds(1);
  EXPECT_TRUE(TestClient(config)->DeleteObject("k", Soon()).ok());
  EXPECT_THAT(server.received(), SizeIs(2));
}

// A refusal is final.
TEST(Retries, AreNotForRefusals) {
  LoopbackServer server(InTurn({ErrorAnswer(403, "AccessDenied")}));
  EXPECT_EQ(Put(*TestClient(server.url())).status().code(), Code::kPermissionDenied);
  EXPECT_THAT(server.received(), SizeIs(1));
}

// Nobody listens: the error names the operation and is UNAVAILABLE.
TEST(Retries, ReportARefusedConnection) {
  std::string url;
  {
    url = LoopbackServer(InTurn({kStored})).url();
  }
  const absl::Status status = Put(*TestClient(url), kNew).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(Message(status),
              AllOf(HasSubstr("PutObject s3://bucket/key"), HasSubstr("endpoint")));
}

// A write that must not replace anything, refused at once, found somebody else's object.
TEST(Conditions, RefusedAtOnceIsSomebodyElses) {
  LoopbackServer server(InTurn({ErrorAnswer(412, "PreconditionFailed")}));
  const auto client = TestClient(server.url());
  EXPECT_EQ(Put(*client, kNew).status().code(), Code::kAlreadyExists);
  EXPECT_EQ(server.received().at(0).Header("if-none-match"), "*");
  const absl::Status changed = Put(*client, {.conditions = {.if_match = "\"old\""}}).status();
  EXPECT_EQ(changed.code(), Code::kFailedPrecondition);
  EXPECT_EQ(server.received().at(1).Header("if-match"), "\"old\"");
}

class LostAnswer : public ::testing::TestWithParam<Reply> {};

// Refused after a try whose answer was lost, the object may be ours.
TEST_P(LostAnswer, MayBeOurs) {
  LoopbackServer server(InTurn({GetParam(), ErrorAnswer(412, "PreconditionFailed")}));
  const absl::Status status = Put(*TestClient(server.url()), kNew).status();
  EXPECT_TRUE(MaybeOurs(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("compare"));
  EXPECT_TRUE(MaybeOurs(Annotate(status, "volume x")));
}

INSTANTIATE_TEST_SUITE_P(Kinds, LostAnswer,
                         ::testing::Values(Hangup(), ErrorAnswer(500, "InternalError"), Answer(504),
                                           CutShort(Answer(200, "xxxx"), 1)));

// A server that was too busy to do anything leaves no doubt.
TEST(Conditions, RefusedAfterSlowDownIsSomebodyElses) {
  LoopbackServer server(
      InTurn({ErrorAnswer(503, "SlowDown"), ErrorAnswer(412, "PreconditionFailed")}));
  EXPECT_EQ(Put(*TestClient(server.url()), kNew).status().code(), Code::kAlreadyExists);
}

// curl sends a request once more by itself when a kept connection was closed; a conditional write
// must not be repeated without our knowing.
TEST(Conditions, AreNotRepeatedBehindOurBack) {
  LoopbackServer server(InTurn({kStored, Hangup(), ErrorAnswer(412, "PreconditionFailed")}));
  const auto client = TestClient(server.url());
  ASSERT_TRUE(Put(*client).ok());
  const absl::Status status = Put(*client, kNew).status();
  EXPECT_TRUE(MaybeOurs(status)) << status;
  EXPECT_THAT(server.received(), SizeIs(3));
}

// Connections are kept for the next request.
TEST(Connections, AreKept) {
  LoopbackServer server(InTurn({kStored}));
  const auto client = TestClient(server.url());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Put(*client).ok());
  EXPECT_EQ(server.received().at(2).connection, 0);
}

// A redirect takes our signed request nowhere, and the error names the region.
TEST(Redirects, AreNotFollowed) {
  LoopbackServer elsewhere(InTurn({kStored}));
  LoopbackServer server(InTurn({Answer(
      307, "", "Location: " + elsewhere.url() + "/bucket/key\r\nx-amz-bucket-region: eu-9\r\n")}));
  const absl::Status status = Put(*TestClient(server.url())).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(Message(status), HasSubstr("AWS_REGION=eu-9"));
  EXPECT_THAT(elsewhere.received(), IsEmpty());
}

// No error shows a secret.
TEST(Errors, ShowNoSecrets) {
  LoopbackServer server(InTurn({ErrorAnswer(403, "SignatureDoesNotMatch")}));
  auto client = Client::Create(TestConfig(server.url()), "bucket",
                               testing::TestCredentials(testing::kSessionToken));
  EXPECT_THAT(Message(Put(**client).status()),
              AllOf(Not(HasSubstr(testing::kSecretKey)), Not(HasSubstr(testing::kSessionToken))));
}

// What cannot work is refused before anything is sent.
TEST(Client, ChecksItsConfiguration) {
  const auto create = [](const std::string& endpoint, const std::string& bucket) {
    return Client::Create(TestConfig(endpoint), bucket, testing::TestCredentials()).status().code();
  };
  EXPECT_EQ(create("http://s3.example.com", "bucket"), Code::kInvalidArgument);
  EXPECT_EQ(create("https://s3.example.com", "b/../x"), Code::kInvalidArgument);
  EXPECT_EQ(create("https://s3.example.com", "bucket"), Code::kOk);
}

// Keys are 1 to 1,024 bytes.
TEST(Client, ChecksKeys) {
  LoopbackServer server(InTurn({Answer(204)}));
  const auto client = TestClient(server.url());
  EXPECT_EQ(client->DeleteObject("", Soon()).code(), Code::kInvalidArgument);
  EXPECT_EQ(client->DeleteObject(std::string(1025, 'k'), Soon()).code(), Code::kInvalidArgument);
  EXPECT_TRUE(client->DeleteObject(std::string(1024, 'k'), Soon()).ok());
}

// An ETag with a line end would become a header.
TEST(Client, SendsNoForgedHeaders) {
  LoopbackServer server(InTurn({kStored}));
  const absl::Status status =
      Put(*TestClient(server.url()), {.conditions = {.if_match = "x\r\nX-Evil: 1"}}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(server.received(), IsEmpty());
}

// An answer that is larger than any of S3's is given up.
TEST(Answers, AreBounded) {
  LoopbackServer server(InTurn({Answer(200, std::string(kMaxAnswerBytes + 1, ' '))}));
  const absl::Status status = TestClient(server.url())->ListObjects({}, Soon()).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(server.received(), SizeIs(1));
}

// Nor do headers fill the memory.
TEST(Answers, HaveBoundedHeaders) {
  std::string headers;
  for (int i = 0; headers.size() <= kMaxHeaderBytes; ++i) {
    headers += fmt::format("X-{}: {}\r\n", i, std::string(1000, 'x'));
  }
  LoopbackServer server(InTurn({Answer(204, "", headers)}));
  EXPECT_EQ(TestClient(server.url())->DeleteObject("k", Soon()).code(), Code::kResourceExhausted);
}

// Size, ETag and metadata come from the headers.
TEST(HeadObject, ReadsHeaders) {
  LoopbackServer server(InTurn({{.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n"
                                          "ETag: \"e\"\r\nX-Amz-Meta-Run: 7\r\n\r\n"}}));
  const auto info = TestClient(server.url())->HeadObject("key", Soon());
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->size, 5'000'000'000u);
  EXPECT_EQ(info->etag, "\"e\"");
  EXPECT_EQ(info->metadata, (Metadata{{"run", "7"}}));
}

}  // namespace
}  // namespace cryptvol::s3
