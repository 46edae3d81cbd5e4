// Uploads in parts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/status.h"
#include "s3/client.h"
#include "tests/s3/loopback_server.h"
#include "tests/s3/test_client.h"

namespace cryptvol::s3 {
namespace {

using testing::Answer;
using testing::ErrorAnswer;
using testing::Hangup;
using ::testing::HasSubstr;
using testing::InTurn;
using testing::LoopbackServer;
using testing::Received;
using testing::Reply;
using ::testing::SizeIs;
using testing::Soon;
using testing::TestClient;

using Code = absl::StatusCode;

const Upload kUpload = {.key = "key", .id = "id"};

absl::StatusOr<StoredObject> CompleteOne(Client& client, const WriteConditions& conditions = {}) {
  const std::vector<UploadedPart> parts = {{.number = 1, .etag = "\"p1\""}};
  return client.CompleteMultipartUpload(kUpload, parts, conditions, Soon());
}

const Reply kCompleted = Answer(
    200, "<CompleteMultipartUploadResult><ETag>\"done-1\"</ETag></CompleteMultipartUploadResult>");

// Parts go to the upload's address; the server's word about them comes back.
TEST(Multipart, SpeaksTheProtocol) {
  LoopbackServer server(
      InTurn({Answer(200,
                     "<InitiateMultipartUploadResult><UploadId>u/1</UploadId>"
                     "</InitiateMultipartUploadResult>"),
              Answer(200, "", "ETag: \"p1\"\r\n"),
              Answer(200, "<CopyPartResult><ETag>\"p2\"</ETag></CopyPartResult>"), kCompleted}));
  const auto client = TestClient(server.url());
  const auto upload = client->CreateMultipartUpload("key", {.metadata = {{"run", "7"}}}, Soon());
  ASSERT_TRUE(upload.ok()) << upload.status();
  const auto first = client->UploadPart(*upload, 1, AsBytes("content"), Soon());
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = client->UploadPartCopy(
      *upload, 2, {.key = "old key", .offset = 5, .length = 10, .if_match = "\"o\""}, Soon());
  ASSERT_TRUE(second.ok()) << second.status();
  const std::vector<UploadedPart> parts = {*first, *second};
  const auto stored =
      client->CompleteMultipartUpload(*upload, parts, {.must_not_exist = true}, Soon());
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->etag, "\"done-1\"");

  const std::vector<Received> requests = server.received();
  EXPECT_EQ(requests[0].target, "/bucket/key?uploads=");
  EXPECT_EQ(requests[0].Header("x-amz-meta-run"), "7");
  EXPECT_EQ(requests[1].target, "/bucket/key?partNumber=1&uploadId=u%2F1");
  EXPECT_EQ(requests[2].Header("x-amz-copy-source"), "/bucket/old%20key");
  EXPECT_EQ(requests[2].Header("x-amz-copy-source-range"), "bytes=5-14");
  EXPECT_EQ(requests[2].Header("x-amz-copy-source-if-match"), "\"o\"");
  EXPECT_EQ(requests[3].Header("if-none-match"), "*");
  EXPECT_THAT(requests[3].body,
              HasSubstr("<Part><PartNumber>2</PartNumber><ETag>&quot;p2&quot;</ETag></Part>"));
}

// 200 with an error in the body is that error.
TEST(Complete, SeesTheErrorIn200) {
  LoopbackServer server(InTurn({ErrorAnswer(200, "EntityTooSmall")}));
  const absl::Status status = CompleteOne(*TestClient(server.url())).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("EntityTooSmall"));
}

// One that passes is tried again; white space before the answer keeps a connection alive.
TEST(Complete, TriesAgainAfterAnErrorIn200) {
  LoopbackServer server(InTurn({ErrorAnswer(200, "InternalError"),
                                Answer(200,
                                       "\n  \n<CompleteMultipartUploadResult><ETag>\"x\"</ETag>"
                                       "</CompleteMultipartUploadResult>")}));
  const auto stored = CompleteOne(*TestClient(server.url()));
  EXPECT_TRUE(stored.ok()) << stored.status();
}

// An empty 200 is no success.
TEST(Complete, WantsAnAnswer) {
  LoopbackServer server(InTurn({Answer(200)}));
  EXPECT_EQ(CompleteOne(*TestClient(server.url())).status().code(), Code::kDataLoss);
}

// The upload is gone after a lost answer: it may have become the object.
TEST(Complete, MayBeOursAfterALostAnswer) {
  LoopbackServer server(InTurn({Hangup(), ErrorAnswer(404, "NoSuchUpload")}));
  EXPECT_TRUE(MaybeOurs(CompleteOne(*TestClient(server.url())).status()));
}

// The upload is gone, and nothing was lost: it was aborted.
TEST(Complete, IsRefusedWithoutAnUpload) {
  LoopbackServer server(InTurn({ErrorAnswer(404, "NoSuchUpload")}));
  EXPECT_EQ(CompleteOne(*TestClient(server.url())).status().code(), Code::kNotFound);
}

// 409 asks for the whole upload anew: repeating the completion does not help.
TEST(Complete, DoesNotRepeatAConflict) {
  LoopbackServer server(InTurn({ErrorAnswer(409, "ConditionalRequestConflict")}));
  EXPECT_EQ(CompleteOne(*TestClient(server.url()), {.must_not_exist = true}).status().code(),
            Code::kUnavailable);
  EXPECT_THAT(server.received(), SizeIs(1));
}

// A copy's answer may be an error too.
TEST(UploadPartCopy, SeesTheErrorIn200) {
  LoopbackServer server(InTurn({ErrorAnswer(200, "PreconditionFailed")}));
  EXPECT_EQ(TestClient(server.url())
                ->UploadPartCopy(kUpload, 1, {.key = "k", .length = 1}, Soon())
                .status()
                .code(),
            Code::kFailedPrecondition);
}

// What is gone need not be aborted.
TEST(Abort, SucceedsWithoutAnUpload) {
  LoopbackServer server(InTurn({ErrorAnswer(404, "NoSuchUpload")}));
  EXPECT_TRUE(TestClient(server.url())->AbortMultipartUpload(kUpload, Soon()).ok());
  EXPECT_EQ(server.received().at(0).target, "/bucket/key?uploadId=id");
}

// Uploads of other prefixes are left out, and pages that go round end with an error.
TEST(ListUploads, FollowsMarkers) {
  const auto page = [](const std::string& key, const std::string& next) {
    return Answer(200, "<ListMultipartUploadsResult><Upload><Key>" + key +
                           "</Key><UploadId>u</UploadId></Upload>" + next +
                           "</ListMultipartUploadsResult>");
  };
  const std::string more =
      "<IsTruncated>true</IsTruncated><NextKeyMarker>p/1</NextKeyMarker>"
      "<NextUploadIdMarker>u</NextUploadIdMarker>";
  LoopbackServer server(InTurn({page("p/1", more), page("q/2", ""), page("p/1", more)}));
  const auto client = TestClient(server.url());
  const auto uploads = client->ListMultipartUploads("p/", Soon());
  ASSERT_TRUE(uploads.ok()) << uploads.status();
  ASSERT_THAT(*uploads, SizeIs(1));
  EXPECT_EQ(uploads->at(0).key, "p/1");
  EXPECT_THAT(server.received().at(1).target, HasSubstr("key-marker=p%2F1&"));
  EXPECT_EQ(client->ListMultipartUploads("p/", Soon()).status().code(), Code::kDataLoss);
}

// A server that shows uploads without end, or nothing without end, fills no memory.
TEST(ListMultipartUploads, IsBounded) {
  for (const int per_page : {0, 2000}) {
    int number = 0;
    LoopbackServer server([&](const Received&) {
      std::string xml = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>";
      for (int i = 0; i < per_page; ++i) {
        xml += fmt::format("<Upload><Key>k</Key><UploadId>u{}</UploadId></Upload>", ++number);
      }
      return Answer(200, xml + fmt::format("<NextKeyMarker>k{}</NextKeyMarker>"
                                           "</ListMultipartUploadsResult>",
                                           ++number));
    });
    EXPECT_EQ(TestClient(server.url())->ListMultipartUploads("", Soon()).status().code(),
              per_page == 0 ? Code::kDataLoss : Code::kResourceExhausted);
  }
}

}  // namespace
}  // namespace cryptvol::s3
