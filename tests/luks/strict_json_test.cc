// JSON on which two parsers could differ.
#include "luks/strict_json.h"

#include "gtest/gtest.h"
#include "tests/luks/header_matchers.h"

namespace cryptvol::luks {
namespace {

using testing::Fails;
using testing::IsOk;

constexpr auto kRefused = absl::StatusCode::kInvalidArgument;

std::string Nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

// Leniencies of other parsers are refused.
TEST(StrictJson, RefusesWhatIsNoJson) {
  for (const char* text :
       {"", "{", "{}{}", "{} x", "{'a':1}", "{\"a\":1,}", "/* */{}", "{\"a\":01}", "{\"a\":NaN}",
        "{\"a\":\"\n\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\\ud800\"}", "{\"a\":1e999}", "{a:1}"}) {
    EXPECT_THAT(ParseStrictJson(text), Fails(kRefused, "is not JSON at byte")) << text;
  }
}

// Nor does a NUL end the text.
TEST(StrictJson, RefusesNulBytes) {
  EXPECT_THAT(ParseStrictJson(std::string_view("{}\0{}", 5)), Fails(kRefused, "at byte 2"));
  EXPECT_THAT(ParseStrictJson(std::string_view("{}\0", 3)), Fails(kRefused, "at byte 2"));
}

// The last of two equal names wins in one parser, the first in another.
TEST(StrictJson, RefusesEqualNames) {
  EXPECT_THAT(ParseStrictJson(R"({"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]})"), IsOk());
  EXPECT_THAT(ParseStrictJson(R"({"x":{"a":1,"b":2,"a":3}})"), Fails(kRefused, "the same name"));
  EXPECT_THAT(ParseStrictJson(R"({"a":1,"\u0061":2})"), Fails(kRefused, "the same name"));
}

// A parser in C sees the text up to a NUL.
TEST(StrictJson, RefusesNulInStrings) {
  EXPECT_THAT(ParseStrictJson(R"({"type":"crypt\u0000x"})"), Fails(kRefused, "NUL"));
  EXPECT_THAT(ParseStrictJson(R"({"type\u0000x":"crypt"})"), Fails(kRefused, "NUL"));
}

// Depth is bounded, so that neither parsing nor destroying can exhaust the stack.
TEST(StrictJson, BoundsDepth) {
  EXPECT_THAT(ParseStrictJson(Nested(32)), IsOk());
  EXPECT_THAT(ParseStrictJson(Nested(33)), Fails(kRefused, "nested too deeply"));
  EXPECT_THAT(ParseStrictJson(std::string(4 << 20, '[')), Fails(kRefused, "nested too deeply"));
}

// So is the number of values: each takes many times its text.
TEST(StrictJson, BoundsValues) {
  std::string text = "[0";
  for (int i = 0; i < 100'000; ++i) text += ",0";
  EXPECT_THAT(ParseStrictJson(text + "]"), Fails(kRefused, "too many values"));
}

// Members are there only when they have the type that was asked for.
TEST(StrictJson, FindsMembersByType) {
  const absl::StatusOr<Json> json = ParseStrictJson(
      R"({"o":{},"l":[],"s":"x","n":4294967295,"wide":4294967296,"minus":-1,"f":1.0,)"
      R"("d":"18446744073709551615","e":""})");
  ASSERT_THAT(json, IsOk());
  EXPECT_NE(FindObject(*json, "o"), nullptr);
  EXPECT_EQ(FindObject(*json, "l"), nullptr);
  EXPECT_NE(FindArray(*json, "l"), nullptr);
  EXPECT_EQ(FindArray(*json, "o"), nullptr);
  EXPECT_EQ(FindString(*json, "s"), "x");
  EXPECT_EQ(FindString(*json, "n"), std::nullopt);
  EXPECT_EQ(FindString(*json, "absent"), std::nullopt);
  EXPECT_EQ(FindString(Json("x"), "s"), std::nullopt);
  EXPECT_EQ(FindNumber(*json, "n"), 4294967295u);
  for (const char* name : {"wide", "minus", "f", "d", "absent"}) {
    EXPECT_EQ(FindNumber(*json, name), std::nullopt) << name;
  }
  EXPECT_EQ(FindDecimal(*json, "d"), 18446744073709551615u);
  for (const char* name : {"s", "n", "e", "absent"}) {
    EXPECT_EQ(FindDecimal(*json, name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace cryptvol::luks
