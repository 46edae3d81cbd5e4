// Lists of objects, page by page.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/status.h"
#include "s3/client.h"
#include "tests/s3/loopback_server.h"
#include "tests/s3/test_client.h"

namespace cryptvol::s3 {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using testing::InTurn;
using testing::LoopbackServer;
using testing::Received;
using ::testing::SizeIs;
using testing::Soon;
using testing::TestClient;

using Code = absl::StatusCode;

std::string Page(const std::string& keys, const std::string& next) {
  std::string xml = "<ListBucketResult><EncodingType>url</EncodingType>";
  if (!next.empty()) {
    xml += "<IsTruncated>true</IsTruncated><NextContinuationToken>" + next +
           "</NextContinuationToken>";
  }
  return xml + keys + "</ListBucketResult>";
}

std::string Contents(const std::string& key) {
  return "<Contents><Key>" + key + "</Key><Size>1</Size></Contents>";
}

// All pages, each asked for with the token of the one before.
TEST(ListObjects, FollowsPages) {
  LoopbackServer server(
      InTurn({Answer(200, Page(Contents("p/1"), "t/+")), Answer(200, Page(Contents("p/2"), ""))}));
  const auto listing =
      TestClient(server.url())->ListObjects({.prefix = "p/", .delimiter = "/"}, Soon());
  ASSERT_TRUE(listing.ok()) << listing.status();
  EXPECT_THAT(listing->objects, SizeIs(2));
  EXPECT_EQ(server.received().at(0).target,
            "/bucket/?delimiter=%2F&encoding-type=url&list-type=2&max-keys=250&prefix=p%2F");
  EXPECT_THAT(server.received().at(1).target, HasSubstr("continuation-token=t%2F%2B&"));
}

// Pages that go round end with an error, not with half a listing.
TEST(ListObjects, EndsWhenATokenComesTwice) {
  LoopbackServer server(
      InTurn({Answer(200, Page(Contents("1"), "t1")), Answer(200, Page(Contents("2"), "t2")),
              Answer(200, Page(Contents("1"), "t1"))}));
  const absl::Status status = TestClient(server.url())->ListObjects({}, Soon()).status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_THAT(Message(status), HasSubstr("token came twice"));
}

// Nor do pages without end fill the memory.
TEST(ListObjects, IsBounded) {
  int page = 0;
  LoopbackServer server([&page](const Received&) {
    return Answer(200, Page(Contents("k"), fmt::format("t{}", ++page)));
  });
  EXPECT_EQ(TestClient(server.url())->ListObjects({.max_results = 3}, Soon()).status().code(),
            Code::kResourceExhausted);
}

// Nor pages with nothing in them but the next one's token, nor long names, which are no names.
TEST(ListObjects, IsBoundedWithoutObjects) {
  int page = 0;
  LoopbackServer empty(
      [&page](const Received&) { return Answer(200, Page("", fmt::format("t{}", ++page))); });
  EXPECT_EQ(TestClient(empty.url())->ListObjects({}, Soon()).status().code(), Code::kDataLoss);
  EXPECT_EQ(page, 1001);
  const std::string huge(5000, 'x');
  for (const std::string& object :
       {Contents(huge), "<Contents><Key>k</Key><Size>1</Size><ETag>" + huge + "</ETag></Contents>",
        "<Contents><Key>k</Key><Size>1</Size><LastModified>" + huge.substr(0, 65) +
            "</LastModified></Contents>"}) {
    LoopbackServer server(InTurn({Answer(200, Page(object, ""))}));
    EXPECT_EQ(TestClient(server.url())->ListObjects({}, Soon()).status().code(), Code::kDataLoss);
  }
}

// A server that ignores the prefix would have us delete or restore what is another's.
TEST(ListObjects, RefusesOtherPrefixes) {
  LoopbackServer server(InTurn({Answer(200, Page(Contents("other/1"), ""))}));
  EXPECT_EQ(TestClient(server.url())->ListObjects({.prefix = "p/"}, Soon()).status().code(),
            Code::kDataLoss);
}

// A document type in an answer is an error.
TEST(ListObjects, RefusesDocumentTypes) {
  LoopbackServer server(InTurn(
      {Answer(200, "<!DOCTYPE x [<!ENTITY e 'eeee'>]><ListBucketResult></ListBucketResult>")}));
  EXPECT_EQ(TestClient(server.url())->ListObjects({}, Soon()).status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace cryptvol::s3
