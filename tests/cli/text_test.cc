// What the command line shows and takes: escaping, quantities, progress, metrics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/freshness.h"
#include "cryptsnap/metrics_file.h"
#include "cryptsnap/progress.h"
#include "cryptsnap/quantities.h"

namespace cryptvol::cryptsnap {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Text that a person reads stays as it is, in whatever script.
TEST(EscapeTest, KeepsText) {
  EXPECT_EQ(EscapeForeign("backup äöü 備份 \U0001F512.age"), "backup äöü 備份 \U0001F512.age");
  EXPECT_EQ(EscapeForeign(""), "");
}

// Nothing that moves a cursor, starts a line or turns the reading direction gets through.
TEST(EscapeTest, EscapesWhatATerminalActsOn) {
  EXPECT_EQ(EscapeForeign("a\x1b[2Jb\r\nc\td\x7f"), "a\\x1b[2Jb\\x0d\\nc\\td\\x7f");
  EXPECT_EQ(EscapeForeign(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(EscapeForeign("\u009b2J"), "\\xc2\\x9b2J");         // CSI in one character
  EXPECT_EQ(EscapeForeign("\u202egpj"), "\\xe2\\x80\\xaegpj");  // right to left
  EXPECT_EQ(EscapeForeign("a\u2028b"), "a\\xe2\\x80\\xa8b");    // line separator
}

// Bytes that are no UTF-8 are shown one by one: cut off, overlong, surrogates, too large.
TEST(EscapeTest, EscapesWhatIsNoUtf8) {
  EXPECT_EQ(EscapeForeign("\xc3"), "\\xc3");
  EXPECT_EQ(EscapeForeign("\xc0\x8a"), "\\xc0\\x8a");
  EXPECT_EQ(EscapeForeign("\xe0\x80\x8a"), "\\xe0\\x80\\x8a");
  EXPECT_EQ(EscapeForeign("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(EscapeForeign("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(EscapeForeign("\xff"), "\\xff");
}

// A secret key that somebody took for a file's name does not get into a log, wherever it stands, and
// in whatever case; a mention of one, and a public key, do.
TEST(EscapeTest, KeepsSecretsOut) {
  const std::string tail = "1QQPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQQPZRY9X8GF2TVDW0S3JN54K";
  EXPECT_EQ(EscapeForeign("open AGE-SECRET-KEY-" + tail + ": No such file"),
            "open AGE-SECRET-KEY-...: No such file");
  EXPECT_EQ(EscapeForeign("/x/age-secret-key-pq-1qqqqqqqq, twice AGE-SECRET-KEY-" + tail),
            "/x/age-secret-key-..., twice AGE-SECRET-KEY-...");
  EXPECT_EQ(EscapeForeign("AGE-PLUGIN-YUBIKEY-" + tail), "AGE-PLUGIN-...");
  EXPECT_EQ(EscapeForeign("open RWRTY0IyAAAAbbbbCCCC+/dd: no"), "open RWRTY0Iy...: no");
  EXPECT_EQ(EscapeForeign("RWQAAEIyAAAAbbbbCCCC+/dd"), "RWQAAEIy...");
  for (const std::string text : {"AGE-SECRET-KEY-1... or AGE-PLUGIN-...", "age1qqpzry9x8gf2tvdw0",
                                 "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"}) {
    EXPECT_EQ(EscapeForeign(text), text);
  }
}

// Sizes have binary units or none; anything else, overflow included, is refused.
TEST(QuantitiesTest, Sizes) {
  EXPECT_EQ(*ParseSize("--x", "4096"), 4096u);
  EXPECT_EQ(*ParseSize("--x", "64MiB"), uint64_t{64} << 20);
  EXPECT_EQ(*ParseSize("--x", "2Ti"), uint64_t{2} << 40);
  for (const char* text : {"", "1.5GiB", "5MB", "-1", "KiB", "1KiBx", "99999999999TiB"}) {
    EXPECT_EQ(ExitStatusOf(ParseSize("--x", text).status()), ExitStatus::kUsage) << text;
  }
}

// Durations are numbers with units, added up.
TEST(QuantitiesTest, Durations) {
  EXPECT_EQ(ParseDuration("--x", "26h")->count(), 26 * 3600);
  EXPECT_EQ(ParseDuration("--x", "1d12h")->count(), 36 * 3600);
  EXPECT_EQ(ParseDuration("--x", "0s")->count(), 0);
  for (const char* text :
       {"", "26", "h", "1y", "1h ", "-1h", "99999999999999999999h", "9999999w"}) {
    EXPECT_EQ(ExitStatusOf(ParseDuration("--x", text).status()), ExitStatus::kUsage) << text;
  }
}

// A day is its beginning, in UTC.
TEST(QuantitiesTest, Times) {
  EXPECT_EQ(*ParseTime("--x", "2026-11-22"), *ParseTime("--x", "2026-11-22T00:00:00Z"));
  EXPECT_FALSE(ParseTime("--x", "22.11.2026").ok());
}

// Rate and remaining time need a rate and a total.
TEST(ProgressTest, Line) {
  EXPECT_EQ(ProgressLine(512, std::nullopt, 0), "512 B");
  EXPECT_EQ(ProgressLine(1 << 20, std::nullopt, 2048), "1.0 MiB, 2.0 KiB/s");
  EXPECT_EQ(ProgressLine(1 << 20, 3 << 20, 1 << 14), "1.0 MiB of 3.0 MiB, 16.0 KiB/s, 2:08 left");
  EXPECT_EQ(ProgressLine(0, uint64_t{7200} << 10, 1024), "0 B of 7.0 MiB, 1.0 KiB/s, 2:00:00 left");
}

// After a failure the file still says when the last success was, and that this was none.
TEST(MetricsTest, KeepTheLastSuccess) {
  SaveMetrics metrics{"prod", "etcd", true, 1700000000, 1.5, 1000, 1200};
  const std::string before = MetricsText(metrics, "");
  EXPECT_THAT(before, HasSubstr("succeeded{cluster=\"prod\",kind=\"etcd\"} 1\n"));
  metrics.succeeded = false;
  metrics.time = 1700000060;
  const std::string after = MetricsText(metrics, before);
  EXPECT_THAT(after, HasSubstr("last_success_timestamp_seconds{cluster=\"prod\",kind=\"etcd\"} "
                               "1700000000\n"));
  EXPECT_THAT(after, HasSubstr("last_attempt_timestamp_seconds{cluster=\"prod\",kind=\"etcd\"} "
                               "1700000060\n"));
  EXPECT_THAT(after, HasSubstr("succeeded{cluster=\"prod\",kind=\"etcd\"} 0\n"));
}

// Where there never was a success, an alert on its age has something to find: it was in 1970.
TEST(MetricsTest, SayThatThereWasNoSuccess) {
  SaveMetrics metrics{"prod", "etcd", false, 1700000000, 1.5, 0, 0};
  const std::string never = "last_success_timestamp_seconds{cluster=\"prod\",kind=\"etcd\"} 0\n";
  const std::string first = MetricsText(metrics, "");
  EXPECT_THAT(first, HasSubstr(never));
  metrics.time = 1700000060;
  EXPECT_THAT(MetricsText(metrics, first), HasSubstr(never));
  metrics.succeeded = true;
  EXPECT_THAT(MetricsText(metrics, first), Not(HasSubstr(never)));
}

// Clusters and kinds in one file keep their samples, in groups as the format wants them; what is
// not a metric of ours goes.
TEST(MetricsTest, KeepThoseOfOthers) {
  const SaveMetrics etcd{"prod", "etcd", true, 1700000000, 1.5, 1000, 1200};
  const SaveMetrics stream{"prod", "stream", true, 1700000060, 1.5, 1000, 1200};
  const std::string before = MetricsText(etcd, "cryptsnap_last_success_timestamp_seconds{cut\nx 1");
  EXPECT_EQ(before, MetricsText(etcd, ""));
  EXPECT_THAT(MetricsText(stream, before),
              HasSubstr("# TYPE cryptsnap_last_success_timestamp_seconds gauge\n"
                        "cryptsnap_last_success_timestamp_seconds{cluster=\"prod\",kind=\"etcd\"} "
                        "1700000000\n"
                        "cryptsnap_last_success_timestamp_seconds{cluster=\"prod\",kind=\"stream\"}"
                        " 1700000060\n# HELP"));
  EXPECT_EQ(MetricsText(etcd, MetricsText(stream, before)), MetricsText(stream, before));
}

// An old snapshot of etcd is stale, however new the streams of the same cluster are.
TEST(FreshnessTest, LooksAtEachKind) {
  snapshot::Catalog catalog{.target = "file:/x", .chains = {{.writer = "W"}}};
  const auto add = [&](std::optional<snapshot::EtcdRecord> etcd, std::chrono::hours age) {
    snapshot::Manifest manifest;
    manifest.cluster = "prod";
    manifest.time = snapshot::SystemTime() - age;
    manifest.record = snapshot::BackupRecord{.object = "x.age", .etcd = std::move(etcd)};
    auto& entries = catalog.chains[0].entries;
    entries.push_back({.writer = "W", .sequence = entries.size() + 1, .manifest = manifest});
  };
  add(snapshot::EtcdRecord{}, std::chrono::hours(30));
  add(std::nullopt, std::chrono::hours(1));
  EXPECT_EQ(ExitStatusOf(CheckMaxAge(catalog, {}, "26h")), ExitStatus::kStale);
  EXPECT_TRUE(CheckMaxAge(catalog, {}, "31h").ok());
  EXPECT_TRUE(CheckMaxAge(catalog, {.kind = snapshot::Kind::kStream}, "26h").ok());
}

// The innermost word on exit status and hint counts, and survives a context.
TEST(ExitStatusTest, TheInnermostCounts) {
  absl::Status status = WithExitStatus(InvalidArgument("x"), ExitStatus::kWrongKey);
  status = WithHint(WithExitStatus(status, ExitStatus::kTampering), "do this");
  status = WithHint(Annotate(status, "file"), "do that");
  EXPECT_EQ(ExitStatusOf(status), ExitStatus::kWrongKey);
  EXPECT_EQ(HintOf(status), "do this");
  EXPECT_EQ(Message(status), "file: x");
  // A context alone decides nothing.
  EXPECT_EQ(
      ExitStatusOf(WithExitStatus(Annotate(InvalidArgument("x"), "file"), ExitStatus::kTampering)),
      ExitStatus::kTampering);
}

}  // namespace
}  // namespace cryptvol::cryptsnap
