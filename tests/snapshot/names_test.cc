// Names and times: what is ours, and that nothing else passes for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snapshot/file_name.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {
namespace {

constexpr char kObject[] = "20261122T093000Z-prod-6f1c2a3b9d4e5f60.age";
constexpr char kFolder[] = "chain/1F2E3D4C5B6A7988/";

// The three names of docs/format.md, there and back.
TEST(FileName, IsWhatTheFormatSays) {
  const FileName payload = FileName::Payload(kObject);
  const FileName manifest = FileName::Manifest("1F2E3D4C5B6A7988", 42);
  const FileName signature = FileName::Signature("1F2E3D4C5B6A7988", 42);
  EXPECT_EQ(payload.path(), kObject);
  EXPECT_EQ(manifest.path(), std::string(kFolder) + "00000000000000000042.manifest");
  EXPECT_EQ(signature.path(), manifest.path() + ".minisig");
  for (const FileName& name : {payload, manifest, signature}) {
    EXPECT_EQ(FileName::Parse(name.path()), name);
  }
}

// Paths that lead elsewhere, other cases, other lengths, other ends.
TEST(FileName, IsNothingElse) {
  const std::string folder = kFolder;
  for (const std::string& path : std::vector<std::string>{
           "", "a.age", "../" + std::string(kObject), "x/" + std::string(kObject),
           std::string(kObject) + "\n", "20261122T093000Z-../x-6f1c2a3b9d4e5f60.age",
           "20261122T093000Z--6f1c2a3b9d4e5f60.age", "20261122T093000Z-Prod-6f1c2a3b9d4e5f60.age",
           "20261122T093000Z-prod-6F1C2A3B9D4E5F60.age", "chain/1f2e3d4c5b6a7988/1.manifest",
           "chain/1f2e3d4c5b6a7988/00000000000000000042.manifest", folder + "42.manifest",
           folder + "00000000000000000000.manifest", folder + "99999999999999999999.manifest",
           folder + "0000000000000000004x.manifest", folder + "00000000000000000042.manifest~",
           "chain/../1F2E3D4C5B6A798/00000000000000000042.manifest"}) {
    EXPECT_EQ(FileName::Parse(path), std::nullopt) << path;
  }
}

// A new name is one of ours, and a new one each time.
TEST(FileName, MakesNewObjects) {
  const Timestamp time = *ParseTimestamp("2026-11-22T09:30:00Z");
  const auto one = NewObjectName(time, "prod.eu-1");
  const auto two = NewObjectName(time, "prod.eu-1");
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_TRUE(IsObjectName(*one)) << *one;
  EXPECT_TRUE(one->starts_with("20261122T093000Z-prod.eu-1-"));
  EXPECT_NE(*one, *two);
}

// The ends of what a cluster may be called.
TEST(FileName, KnowsClusterNames) {
  for (const char* name : {"a", "0", "prod", "a.b-c", "a-"}) EXPECT_TRUE(IsClusterName(name));
  EXPECT_TRUE(IsClusterName(std::string(63, 'a')));
  EXPECT_FALSE(IsClusterName(std::string(64, 'a')));
  for (const char* name : {"", "-a", ".a", "A", "a/b", "a b", "a_b"}) {
    EXPECT_FALSE(IsClusterName(name)) << name;
  }
}

// There and back, leap days and the ends of years included.
TEST(Timestamp, IsExact) {
  for (const char* text : {"1970-01-01T00:00:00Z", "2026-11-22T09:30:00Z", "2028-02-29T23:59:59Z",
                           "9999-12-31T23:59:59Z"}) {
    const auto time = ParseTimestamp(text);
    ASSERT_TRUE(time.has_value()) << text;
    EXPECT_EQ(FormatTimestamp(*time), text);
  }
  EXPECT_EQ(ParseTimestamp("2026-11-22T09:30:00Z")->time_since_epoch().count(), 1795339800);
  EXPECT_EQ(CompactTimestamp(*ParseTimestamp("2026-11-22T09:30:00Z")), "20261122T093000Z");
}

// Days that do not exist, other zones, other forms.
TEST(Timestamp, RefusesTheRest) {
  for (const char* text :
       {"", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z",
        "1969-12-31T23:59:59Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00",
        "2026-01-01t00:00:00z", "2026-1-01T00:00:00ZZ", "-026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z "}) {
    EXPECT_EQ(ParseTimestamp(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace cryptvol::snapshot
