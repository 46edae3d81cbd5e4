#include "s3/signer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "s3/digest.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kEmptyHash[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

Credentials Keys(const std::string& id, const std::string& secret) {
  Credentials credentials;
  credentials.access_key_id = id;
  credentials.secret_access_key = *SecretBytes::CopyOf(secret);
  return credentials;
}

std::string SignatureOf(const std::string& authorization) {
  return authorization.substr(authorization.rfind('=') + 1);
}

// The examples of "Signature Calculations for the Authorization Header" in the S3 API reference.
struct S3Example {
  std::string name;
  std::string method;
  std::string path;
  Pairs query;
  Pairs headers;
  std::string body;
  std::string signature;
};

class S3Examples : public ::testing::TestWithParam<S3Example> {};

// Each documented request gets its documented signature.
TEST_P(S3Examples, AreSignedAsDocumented) {
  const S3Example& example = GetParam();
  const std::string hash = Hex(Sha256(AsBytes(example.body)));
  SignableRequest request = {.method = example.method,
                             .path = example.path,
                             .query = example.query,
                             .headers = example.headers,
                             .payload_hash = hash};
  request.headers.emplace_back("Host", "examplebucket.s3.amazonaws.com");
  request.headers.emplace_back("x-amz-date", "20130524T000000Z");
  request.headers.emplace_back("x-amz-content-sha256", hash);
  const auto authorization = Authorization(
      request, Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
      {.region = "us-east-1"}, "20130524T000000Z");
  ASSERT_TRUE(authorization.ok()) << authorization.status();
  EXPECT_EQ(SignatureOf(*authorization), example.signature);
  EXPECT_THAT(*authorization,
              StartsWith("AWS4-HMAC-SHA256 "
                         "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "));
}

INSTANTIATE_TEST_SUITE_P(
    Documented, S3Examples,
    ::testing::Values(S3Example{"GetObject",
                                "GET",
                                "/test.txt",
                                {},
                                {{"Range", "bytes=0-9"}},
                                "",
                                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
                      S3Example{"PutObject",
                                "PUT",
                                "/" + UriEncode("test$file.text", Slash::kKeep),
                                {},
                                {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                                 {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                                "Welcome to Amazon S3.",
                                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
                      S3Example{"GetBucketLifecycle",
                                "GET",
                                "/",
                                {{"lifecycle", ""}},
                                {},
                                "",
                                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
                      S3Example{
                          "ListObjects",
                          "GET",
                          "/",
                          {{"max-keys", "2"}, {"prefix", "J"}},
                          {},
                          "",
                          "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"}),
    [](const auto& tested) { return tested.param.name; });

// Cases of the Signature V4 test suite, under the names that they have there. Those that normalise
// paths are left out: S3 does not.
struct SuiteCase {
  std::string name;
  std::string method;
  std::string path;
  Pairs query;
  Pairs headers;
  std::string body;
  std::string signature;
};

class SignatureV4Suite : public ::testing::TestWithParam<SuiteCase> {};

// Each case gets the suite's signature.
TEST_P(SignatureV4Suite, IsSignedAsPublished) {
  const SuiteCase& test = GetParam();
  SignableRequest request = {.method = test.method,
                             .path = test.path,
                             .query = test.query,
                             .headers = test.headers,
                             .payload_hash = Hex(Sha256(AsBytes(test.body)))};
  request.headers.emplace_back("Host", "example.amazonaws.com");
  request.headers.emplace_back("X-Amz-Date", "20150830T123600Z");
  const auto authorization =
      Authorization(request, Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                    {.region = "us-east-1", .service = "service"}, "20150830T123600Z");
  ASSERT_TRUE(authorization.ok()) << authorization.status();
  EXPECT_EQ(SignatureOf(*authorization), test.signature);
}

constexpr char kUnreserved[] = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

INSTANTIATE_TEST_SUITE_P(
    Published, SignatureV4Suite,
    ::testing::Values(
        SuiteCase{"get_vanilla",
                  "GET",
                  "/",
                  {},
                  {},
                  "",
                  "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
        SuiteCase{"get_vanilla_query_order_key_case",
                  "GET",
                  "/",
                  {{"Param2", "value2"}, {"Param1", "value1"}},
                  {},
                  "",
                  "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
        SuiteCase{"get_vanilla_empty_query_key",
                  "GET",
                  "/",
                  {{"Param1", "value1"}},
                  {},
                  "",
                  "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
        SuiteCase{"get_vanilla_query_unreserved",
                  "GET",
                  "/",
                  {{kUnreserved, kUnreserved}},
                  {},
                  "",
                  "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
        SuiteCase{"get_vanilla_utf8_query",
                  "GET",
                  "/",
                  {{"\u1234", "bar"}},
                  {},
                  "",
                  "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
        SuiteCase{"get_utf8",
                  "GET",
                  UriEncode("/\u1234", Slash::kKeep),
                  {},
                  {},
                  "",
                  "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
        SuiteCase{"get_unreserved",
                  "GET",
                  std::string("/") + kUnreserved,
                  {},
                  {},
                  "",
                  "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
        SuiteCase{"get_header_key_duplicate",
                  "GET",
                  "/",
                  {},
                  {{"My-Header1", "value2"}, {"My-Header1", "value2"}, {"My-Header1", "value1"}},
                  "",
                  "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
        SuiteCase{"get_header_value_trim",
                  "GET",
                  "/",
                  {},
                  {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}},
                  "",
                  "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
        SuiteCase{"post_vanilla",
                  "POST",
                  "/",
                  {},
                  {},
                  "",
                  "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
        SuiteCase{"post_header_key_sort",
                  "POST",
                  "/",
                  {},
                  {{"My-Header1", "value1"}},
                  "",
                  "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
        SuiteCase{"post_x_www_form_urlencoded",
                  "POST",
                  "/",
                  {},
                  {{"Content-Type", "application/x-www-form-urlencoded"}},
                  "Param1=value1",
                  "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"}),
    [](const auto& tested) { return tested.param.name; });

// A session token changes the signature, and is not in the result.
TEST(Signer, SignsTheSessionToken) {
  SignableRequest request = {.method = "GET", .path = "/", .payload_hash = kEmptyHash};
  request.headers = {{"host", "h"}, {"x-amz-date", "20150830T123600Z"}};
  const Credentials keys = Keys("ID", "secret");
  const std::string without = *Authorization(request, keys, {.region = "r"}, "20150830T123600Z");
  request.headers.emplace_back("x-amz-security-token", "the-token");
  const std::string with = *Authorization(request, keys, {.region = "r"}, "20150830T123600Z");
  EXPECT_NE(SignatureOf(with), SignatureOf(without));
  EXPECT_THAT(with, HasSubstr("SignedHeaders=host;x-amz-date;x-amz-security-token,"));
  EXPECT_THAT(with, Not(HasSubstr("the-token")));
}

// Sub-resources without a value are sent as "uploads=", and encoding comes before sorting.
TEST(Signer, WritesTheQueryAsItIsSigned) {
  EXPECT_EQ(CanonicalQuery({{"uploads", ""}, {"prefix", "a b/+&=%"}}),
            "prefix=a%20b%2F%2B%26%3D%25&uploads=");
  EXPECT_EQ(CanonicalQuery({{"a+", "1"}, {"a", "2"}}), "a=2&a%2B=1");
  EXPECT_EQ(CanonicalQuery({}), "");
}

// S3's paths are encoded once, and neither their dots nor their slashes touched.
TEST(Signer, SignsThePathAsItIs) {
  SignableRequest request = {.method = "GET", .payload_hash = std::string(kUnsignedPayload)};
  request.path = "/" + UriEncode("a//b/../c d%", Slash::kKeep);
  request.headers = {{"host", "h"}};
  EXPECT_THAT(CanonicalRequest(request), StartsWith("GET\n/a//b/../c%20d%25\n\n"));
  EXPECT_THAT(CanonicalRequest(request), EndsWith("\nUNSIGNED-PAYLOAD"));
}

// Dates are in UTC, and padded.
TEST(Signer, WritesDates) {
  EXPECT_EQ(AmzDate(WallClock::from_time_t(1369353600)), "20130524T000000Z");
  EXPECT_EQ(AmzDate(WallClock::from_time_t(4)), "19700101T000004Z");
}

}  // namespace
}  // namespace cryptvol::s3
