#include "s3/answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"

namespace cryptvol::s3 {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Optional;

using Code = absl::StatusCode;

// Names come out as the bytes that they are, however the server encoded them.
TEST(ListObjects, ReadsEncodedNames) {
  const auto page = ParseListObjects(
      "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
      "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
      "<NextContinuationToken>t+%20</NextContinuationToken>"
      "<Contents><Key>a%1B+b%0A%2B%25</Key><Size>5</Size><ETag>&quot;e&quot;</ETag></Contents>"
      "<CommonPrefixes><Prefix>p%C3%A9/</Prefix></CommonPrefixes></ListBucketResult>");
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->listing.objects.size(), 1u);
  EXPECT_EQ(page->listing.objects[0].key, "a\x1b b\n+%");
  EXPECT_EQ(page->listing.objects[0].size, 5u);
  EXPECT_EQ(page->listing.objects[0].etag, "\"e\"");
  EXPECT_THAT(page->listing.common_prefixes, ::testing::ElementsAre("p\xc3\xa9/"));
  EXPECT_THAT(page->next, Optional(std::string("t+%20")));  // opaque
}

// A server that does not say that it encodes did not.
TEST(ListObjects, ReadsPlainNames) {
  const auto page = ParseListObjects(
      "<ListBucketResult><Contents><Key>a+%20&amp;&#27;</Key><Size>0</Size></Contents>"
      "<Contents><Key> </Key><Size>0</Size></Contents></ListBucketResult>");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->listing.objects.at(0).key, "a+%20&\x1b");
  EXPECT_EQ(page->listing.objects.at(1).key, " ");
  EXPECT_EQ(page->next, std::nullopt);
}

class NotAListing : public ::testing::TestWithParam<std::string> {};

// What is not a listing is an error, never an empty listing: that would read as "no backups".
TEST_P(NotAListing, IsDataLoss) {
  EXPECT_EQ(ParseListObjects(GetParam()).status().code(), Code::kDataLoss);
}

INSTANTIATE_TEST_SUITE_P(
    Forms, NotAListing,
    ::testing::Values(
        "", "<html>hello</html>", "{\"json\": true}", "<ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><IsTruncated>maybe</IsTruncated></ListBucketResult>",
        "<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>k</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%q</Key><Size>1</Size>"
        "</Contents></ListBucketResult>"));

// A document type is refused before anything could come of it.
TEST(Xml, RefusesDocumentTypes) {
  const std::string bomb =
      "<?xml version='1.0'?><!DOCTYPE b [<!ENTITY a 'aaaa'><!ENTITY c '&a;&a;&a;'>]>"
      "<ListBucketResult><Contents><Key>&c;</Key><Size>1</Size></Contents></ListBucketResult>";
  const absl::Status status = ParseListObjects(bomb).status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_THAT(Message(status), HasSubstr("document type"));
  EXPECT_EQ(ParseError("<!DOCTYPE Error SYSTEM 'file:///etc/passwd'><Error><Code>X</Code></Error>"),
            std::nullopt);
}

// A document as deep as an answer may be does not overflow the stack.
TEST(Xml, BearsDepth) {
  std::string deep;
  while (deep.size() < kMaxAnswerBytes) deep += "<a>";
  EXPECT_FALSE(ParseListObjects(deep).ok());
}

// Uploads and the place to go on from.
TEST(ListUploads, ReadsMarkers) {
  const auto page = ParseListUploads(
      "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
      "<NextKeyMarker>k%2B</NextKeyMarker><NextUploadIdMarker>id2</NextUploadIdMarker>"
      "<Upload><Key>a+b</Key><UploadId>id1</UploadId><Initiated>2025-01-01T00:00:00Z</Initiated>"
      "</Upload></ListMultipartUploadsResult>");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->uploads.at(0).key, "a b");
  EXPECT_EQ(page->uploads.at(0).id, "id1");
  ASSERT_TRUE(page->next.has_value());
  EXPECT_EQ(page->next->key, "k+");
  EXPECT_EQ(page->next->id, "id2");
}

// Ids and ETags go back in headers: one with a line end would be two headers.
TEST(Tokens, HaveNoControlCharacters) {
  EXPECT_EQ(ParseUploadId("<InitiateMultipartUploadResult><UploadId>a&#13;&#10;b</UploadId>"
                          "</InitiateMultipartUploadResult>")
                .status()
                .code(),
            Code::kDataLoss);
  EXPECT_EQ(ParseCopiedPart("<CopyPartResult><ETag></ETag></CopyPartResult>").status().code(),
            Code::kDataLoss);
  EXPECT_EQ(*ParseCompletedEtag("<CompleteMultipartUploadResult><ETag>\"x-2\"</ETag>"
                                "</CompleteMultipartUploadResult>"),
            "\"x-2\"");
}

ServerError Error(int status, const std::string& code) {
  return {.http_status = status, .code = code, .request_id = "REQ"};
}

const Operation kPut = {"PutObject", "s3:PutObject", "s3://bucket/key"};

struct Refusal {
  int status;
  std::string server_code;
  Code code;
  std::string words;
};

class Refusals : public ::testing::TestWithParam<Refusal> {};

// Each refusal has its code, its own words, the server's code and the request's id.
TEST_P(Refusals, SayWhatToDo) {
  const Refusal& refusal = GetParam();
  const absl::Status status = ErrorStatus(kPut, Error(refusal.status, refusal.server_code));
  EXPECT_EQ(status.code(), refusal.code);
  EXPECT_THAT(Message(status), AllOf(HasSubstr("PutObject s3://bucket/key: " + refusal.server_code),
                                     HasSubstr(refusal.words), HasSubstr("request id REQ")));
}

INSTANTIATE_TEST_SUITE_P(
    Codes, Refusals,
    ::testing::Values(
        Refusal{404, "NoSuchKey", Code::kNotFound, "no such object"},
        Refusal{404, "NoSuchBucket", Code::kNotFound, "no such bucket"},
        Refusal{404, "NoSuchUpload", Code::kNotFound, "upload is gone"},
        Refusal{404, "", Code::kNotFound, "no such object, or no such bucket"},
        Refusal{403, "AccessDenied", Code::kPermissionDenied, "grant s3:PutObject"},
        Refusal{403, "", Code::kPermissionDenied, "grant s3:PutObject"},
        Refusal{403, "SignatureDoesNotMatch", Code::kUnauthenticated, "secret access key is not"},
        Refusal{403, "RequestTimeTooSkewed", Code::kUnauthenticated, "set the clock"},
        Refusal{400, "ExpiredToken", Code::kUnauthenticated, "has expired"},
        Refusal{403, "InvalidAccessKeyId", Code::kUnauthenticated, "does not know this access key"},
        Refusal{412, "PreconditionFailed", Code::kFailedPrecondition, "changed by another"},
        Refusal{416, "InvalidRange", Code::kOutOfRange, "shorter"},
        Refusal{503, "SlowDown", Code::kUnavailable, "overloaded"},
        Refusal{400, "EntityTooSmall", Code::kInvalidArgument, "5 MiB"},
        Refusal{501, "NotImplemented", Code::kUnimplemented, "lacks"},
        Refusal{502, "", Code::kUnavailable, "overloaded or broken"},
        Refusal{301, "", Code::kUnavailable, "redirects are not followed"}));

// 412 of a write that must not replace anything means that there is something.
TEST(ErrorStatus, TellsExistingFromChanged) {
  EXPECT_EQ(ErrorStatus(kPut, Error(412, "PreconditionFailed"), true).code(), Code::kAlreadyExists);
  EXPECT_EQ(ErrorStatus(kPut, Error(412, ""), true).code(), Code::kAlreadyExists);
}

// The region that a server names is passed on.
TEST(ErrorStatus, NamesTheRegion) {
  HttpAnswer answer = {.status = 400,
                       .body =
                           "<Error><Code>AuthorizationHeaderMalformed</Code>"
                           "<Region>eu-west-3</Region></Error>"};
  EXPECT_THAT(Message(ErrorStatus(kPut, ReadError(answer))), HasSubstr("AWS_REGION=eu-west-3"));
  answer = {.status = 301, .headers = {{"x-amz-bucket-region", "ap-south-1"}}};
  EXPECT_THAT(Message(ErrorStatus(kPut, ReadError(answer))), HasSubstr("AWS_REGION=ap-south-1"));
}

// What the server writes cannot forge a line of a log.
TEST(ErrorStatus, EscapesForeignText) {
  const HttpAnswer answer = {
      .status = 403,
      .headers = {{"x-amz-request-id", "id\x1b[2J"}},
      .body = "<Error><Code>Acc\x1b</Code><Message>a&#10;b</Message></Error>"};
  const std::string message = Message(ErrorStatus(kPut, ReadError(answer)));
  EXPECT_THAT(message, AllOf(Not(HasSubstr("\n")), Not(HasSubstr("\x1b")), HasSubstr("\\x0a")));
}

// Waiting helps against trouble, not against refusals; and only some trouble leaves a doubt.
TEST(ServerErrors, AreClassified) {
  for (const int status : {500, 502, 503, 504, 429}) {
    EXPECT_TRUE(IsRetryable(Error(status, ""))) << status;
  }
  EXPECT_TRUE(IsRetryable(Error(400, "RequestTimeout")));
  EXPECT_TRUE(IsRetryable(Error(200, "InternalError")));
  for (const char* code : {"AccessDenied", "NoSuchKey", "PreconditionFailed", "ExpiredToken"}) {
    EXPECT_FALSE(IsRetryable(Error(403, code))) << code;
  }
  EXPECT_TRUE(IsAmbiguous(Error(500, "InternalError")));
  EXPECT_FALSE(IsAmbiguous(Error(503, "SlowDown")));
  EXPECT_FALSE(IsAmbiguous(Error(412, "PreconditionFailed")));
}

// STS wraps its errors.
TEST(Errors, AreReadInBothForms) {
  const auto error = ParseError(
      "<ErrorResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><Error><Type>Sender</Type>"
      "<Code>ExpiredTokenException</Code><Message>m</Message></Error><RequestId>r</RequestId>"
      "</ErrorResponse>");
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, "ExpiredTokenException");
  EXPECT_EQ(error->request_id, "r");
  EXPECT_EQ(ParseError("<html><body>Bad Gateway</body></html>"), std::nullopt);
}

}  // namespace
}  // namespace cryptvol::s3
