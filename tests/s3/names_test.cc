#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "s3/endpoint.h"
#include "s3/object_headers.h"
#include "s3/objects.h"
#include "s3/part_sizes.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Optional;

// Foreign text cannot move a cursor or begin a line of a log, and does not fill it.
TEST(Escaped, LeavesPrintableAsciiOnly) {
  EXPECT_EQ(Escaped("a b\x1b[2J\n\xc3\xa9\x7f"), "a b\\x1b[2J\\x0a\\xc3\\xa9\\x7f");
  EXPECT_EQ(Escaped(std::string(300, 'x')), std::string(256, 'x') + "...");
}

// Every byte survives the way there and back.
TEST(UriEncoding, IsReversible) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_THAT(UriDecode(UriEncode(all, Slash::kKeep)), Optional(all));
  EXPECT_EQ(UriEncode("a/b~c+d e", Slash::kEncode), "a%2Fb~c%2Bd%20e");
}

// Servers write a space as '+', and a plus as %2B; what is no encoding is refused.
TEST(UriDecoding, ReadsWhatServersWrite) {
  EXPECT_THAT(UriDecode("a+b%2bc%2Bd"), Optional(std::string("a b+c+d")));
  EXPECT_EQ(UriDecode("100%"), std::nullopt);
  EXPECT_EQ(UriDecode("%4"), std::nullopt);
  EXPECT_EQ(UriDecode("%zz"), std::nullopt);
}

// A folder's prefix does not match its neighbours.
TEST(FolderPrefix, EndsWithOneSlash) {
  EXPECT_EQ(FolderPrefix("prod"), "prod/");
  EXPECT_EQ(FolderPrefix("prod/"), "prod/");
  EXPECT_EQ(FolderPrefix(""), "");
  EXPECT_FALSE(std::string("prod2/x").starts_with(FolderPrefix("prod")));
}

// The Host header leaves out the scheme's own port, as curl does; a path is kept.
TEST(Endpoint, IsParsed) {
  const auto endpoint = ParseEndpoint("https://s3.example.com:443/base/", "V");
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  EXPECT_EQ(endpoint->authority, "s3.example.com");
  EXPECT_EQ(endpoint->Url(), "https://s3.example.com/base");
  EXPECT_EQ(ParseEndpoint("http://[::1]:9000", "V")->authority, "[::1]:9000");
}

class WrongEndpoint : public ::testing::TestWithParam<std::string> {};

// Everything else is refused, and not repeated: it may hold a password.
TEST_P(WrongEndpoint, IsRefused) {
  const auto endpoint = ParseEndpoint(GetParam(), "AWS_ENDPOINT_URL");
  EXPECT_EQ(endpoint.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(endpoint.status()), HasSubstr("AWS_ENDPOINT_URL"));
  EXPECT_THAT(Message(endpoint.status()), Not(HasSubstr("hunter2")));
}

INSTANTIATE_TEST_SUITE_P(Forms, WrongEndpoint,
                         ::testing::Values("", "s3.example.com", "ftp://h", "file:///etc/passwd",
                                           "https://user:hunter2@h", "https://h?x=hunter2",
                                           "https://h#f", "https://", "https://h\r\nX: y",
                                           "https://h/a b", "https://h:99999",
                                           "https://ex\xc3\xa4"));

// Plain http stays on this machine, however another host's name looks.
TEST(Transport, PlainHttpIsForLoopbackOnly) {
  for (const char* url : {"http://127.0.0.1:9000", "http://localhost", "http://[::1]:1",
                          "https://h", "http://127.9.8.7"}) {
    EXPECT_TRUE(CheckTransport(*ParseEndpoint(url, "V"), false, "V").ok()) << url;
  }
  for (const char* url : {"http://h", "http://127.0.0.1.example.com",
                          "http://localhost.example.com", "http://10.0.0.1", "http://[::2]"}) {
    const Endpoint endpoint = *ParseEndpoint(url, "V");
    EXPECT_FALSE(CheckTransport(endpoint, false, "V").ok()) << url;
    EXPECT_TRUE(CheckTransport(endpoint, true, "V").ok()) << url;
  }
}

// AWS gets virtual-hosted addresses, all others path style, unless told otherwise; a name with dots
// would not match AWS's certificate.
TEST(Addressing, FollowsTheEndpoint) {
  const Endpoint aws = AwsEndpoint("s3", "eu-central-1");
  EXPECT_EQ(BucketEndpoint(aws, "b-1", Addressing::kAuto).Url(),
            "https://b-1.s3.eu-central-1.amazonaws.com");
  EXPECT_EQ(BucketEndpoint(aws, "b.1", Addressing::kAuto).Url(),
            "https://s3.eu-central-1.amazonaws.com/b.1");
  EXPECT_EQ(AwsEndpoint("s3", "cn-north-1").host, "s3.cn-north-1.amazonaws.com.cn");
  const Endpoint own = *ParseEndpoint("https://minio:9000", "V");
  EXPECT_EQ(BucketEndpoint(own, "abc", Addressing::kAuto).Url(), "https://minio:9000/abc");
  EXPECT_EQ(BucketEndpoint(own, "abc", Addressing::kVirtualHosted).Url(), "https://abc.minio:9000");
}

// Names that become part of a URL hold nothing that could change its meaning.
TEST(Names, AreChecked) {
  for (const char* bucket : {"abc", "my.bucket-1", "Legacy_Name"}) {
    EXPECT_TRUE(CheckBucketName(bucket).ok()) << bucket;
  }
  for (const char* bucket : {"", "ab", "a/b", "a?b", "../x", "a..b", "a\nb", "a@b"}) {
    EXPECT_FALSE(CheckBucketName(bucket).ok()) << bucket;
  }
  EXPECT_TRUE(CheckRegion("us-gov-west-1").ok());
  for (const char* region : {"", "evil.example.com/", "a b", "a.b"}) {
    EXPECT_FALSE(CheckRegion(region).ok()) << region;
  }
}

// Metadata that a header would not carry unchanged is refused before it is sent.
TEST(Metadata, IsChecked) {
  EXPECT_TRUE(DescriptionHeaders({.metadata = {{"upload", "a b"}}}).ok());
  for (const char* value : {" a", "a ", "a  b", "a\r\nb", "\xc3\xa9"}) {
    EXPECT_FALSE(DescriptionHeaders({.metadata = {{"upload", value}}}).ok()) << value;
  }
  EXPECT_FALSE(DescriptionHeaders({.metadata = {{"Upper", "x"}}}).ok());
}

// Only a whole and possible range is one.
TEST(ContentRange, IsParsedStrictly) {
  const auto range = ParseContentRange("bytes 2-9/10");
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(range->first, 2u);
  EXPECT_EQ(range->last, 9u);
  EXPECT_EQ(range->total, 10u);
  for (const char* text : {"", "bytes 2-9/*", "bytes */10", "bytes 9-2/10", "bytes 2-10/10",
                           "bytes 2-9/10x", "bytes -2-9/10", "2-9/10"}) {
    EXPECT_FALSE(ParseContentRange(text).has_value()) << text;
  }
}

// Growing parts hold 5 TiB within 10,000 parts, and each is within S3's limits.
TEST(PartSizes, GrowEnough) {
  uint64_t total = 0;
  for (int number = 1; number <= kMaxParts; ++number) {
    const uint64_t size = GrowingPartBytes(number);
    ASSERT_GE(size, kMinPartBytes);
    ASSERT_LE(size, kMaxPartBytes);
    total += size;
  }
  EXPECT_GE(total, kMaxObjectBytes);
  EXPECT_EQ(GrowingPartBytes(1), uint64_t{8} << 20);
}

// Equal parts of any object that S3 takes are few enough, with room for more than expected.
TEST(PartSizes, EqualPartsSuffice) {
  for (const uint64_t expected :
       {uint64_t{0}, uint64_t{1} << 30, uint64_t{1} << 40, kMaxObjectBytes}) {
    const uint64_t size = EqualPartBytes(expected);
    EXPECT_GE(size, kMinPartBytes);
    EXPECT_LE(size, kMaxPartBytes);
    EXPECT_GE(size * kMaxParts, expected + expected / 10) << expected;
  }
}

// Two parts, of the most that an etcd may announce, fit into the memory that a CronJob has.
TEST(PartSizes, EqualPartsOfATebibyteAreSmall) {
  EXPECT_LE(EqualPartBytes(uint64_t{1} << 40), uint64_t{128} << 20);
}

}  // namespace
}  // namespace cryptvol::s3
