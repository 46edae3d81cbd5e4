#include "mount/mount_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/status.h"

namespace cryptvol::mount {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

MountEntry ParseOne(const std::string& line) {
  auto table = ParseMountInfo(line + "\n");
  EXPECT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->size(), 1u);
  return table->front();
}

// The example line of proc(5).
TEST(MountInfo, ParsesTheManualsExample) {
  const MountEntry entry =
      ParseOne("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue");
  EXPECT_EQ(entry.id, 36);
  EXPECT_EQ(entry.parent, 35);
  EXPECT_EQ(entry.device, (block::DeviceNumber{98, 0}));
  EXPECT_EQ(entry.root, "/mnt1");
  EXPECT_EQ(entry.target, "/mnt2");
  EXPECT_EQ(entry.options, "rw,noatime");
  EXPECT_EQ(entry.type, "ext3");
  EXPECT_EQ(entry.source, "/dev/root");
  EXPECT_EQ(entry.super_options, "rw,errors=continue");
}

// None, and several, of the optional fields.
TEST(MountInfo, SkipsOptionalFields) {
  EXPECT_EQ(ParseOne("1 0 8:1 / / rw - ext4 /dev/sda1 rw").type, "ext4");
  EXPECT_EQ(ParseOne("1 0 8:1 / / rw shared:7 master:2 propagate_from:3 - xfs /dev/sda1 rw").type,
            "xfs");
}

// Names with spaces, tabs, newlines and backslashes come back as they were.
TEST(MountInfo, UndoesEscapes) {
  const MountEntry entry =
      ParseOne(R"(1 0 8:1 /a\040b /c\011d\012e\134f rw - ext4 /dev/x\040y rw)");
  EXPECT_EQ(entry.root, "/a b");
  EXPECT_EQ(entry.target, "/c\td\ne\\f");
  EXPECT_EQ(entry.source, "/dev/x y");
  EXPECT_EQ(ParseOne(R"(1 0 8:1 / /end\04 rw - ext4 /dev/x rw)").target, R"(/end\04)");
}

// A mount may have been made with an empty source.
TEST(MountInfo, TakesAnEmptySource) {
  const MountEntry entry = ParseOne("1 0 0:5 / /mnt rw - tmpfs  rw,size=4k");
  EXPECT_EQ(entry.source, "");
  EXPECT_EQ(entry.super_options, "rw,size=4k");
}

class MalformedMountInfo : public ::testing::TestWithParam<std::string> {};

// A line that the kernel would not write is an error that shows it.
TEST_P(MalformedMountInfo, IsRefused) {
  const absl::Status status =
      ParseMountInfo("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n" + GetParam()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr(GetParam().substr(0, GetParam().find('\n'))));
}

INSTANTIATE_TEST_SUITE_P(
    Lines, MalformedMountInfo,
    ::testing::Values("\n", "x 0 8:1 / /a rw - ext4 d rw", "1 x 8:1 / /a rw - ext4 d rw",
                      "1 0 8-1 / /a rw - ext4 d rw", "1 0 8:x / /a rw - ext4 d rw",
                      "1 0 8:1 / a rw - ext4 d rw", "1 0 8:1 / /a rw ext4 d rw",
                      "1 0 8:1 / /a rw - ext4 d", "1 0 8:1 / /a rw -",
                      "99999999999 0 8:1 / /a rw - ext4 d rw"));

// Read-only is a word among the options of the mount or of the filesystem.
TEST(MountEntry, KnowsReadOnly) {
  EXPECT_FALSE(ParseOne("1 0 8:1 / /a rw - ext4 d rw,errors=remount-ro").read_only());
  EXPECT_TRUE(ParseOne("1 0 8:1 / /a ro,noatime - ext4 d rw").read_only());
  EXPECT_TRUE(ParseOne("1 0 8:1 / /a rw - ext4 d x=y,ro").read_only());
}

std::vector<MountEntry> Stacked() {
  return ParseMountInfo(
             "20 1 0:20 / /a rw - tmpfs low rw\n"
             "30 31 0:30 / /a rw - tmpfs top rw\n"  // moved there, so that it comes before its
                                                    // parent
             "31 20 0:31 / /a rw - tmpfs middle rw\n"
             "32 1 0:32 / /ab rw - tmpfs other rw\n")
      .value();
}

// Of mounts on one another the one that is seen is found.
TEST(FindMount, FindsTheTopmost) {
  const auto table = Stacked();
  ASSERT_NE(FindMount(table, "/a"), nullptr);
  EXPECT_EQ(FindMount(table, "/a")->source, "top");
}

// The target is compared as a path, not as text, and never as a prefix.
TEST(FindMount, NormalisesTheTarget) {
  const auto table = Stacked();
  ASSERT_NE(FindMount(table, "/x/..//a/"), nullptr);
  EXPECT_EQ(FindMount(table, "/x/..//a/")->source, "top");
  EXPECT_EQ(FindMount(table, "/a/b"), nullptr);
  EXPECT_EQ(FindMount(table, ""), nullptr);
}

// Others that show the same part of the same filesystem; a bind of a directory in it is another
// thing.
TEST(OtherMountsOf, ComparesDeviceRootAndType) {
  const auto table = ParseMountInfo(
                         "20 1 8:1 / /a rw - ext4 /dev/sda1 rw\n"
                         "21 1 8:1 / /b ro - ext4 /dev/sda1 rw\n"
                         "22 1 8:1 /sub /c rw - ext4 /dev/sda1 rw\n"
                         "23 1 8:2 / /d rw - ext4 /dev/sda2 rw\n")
                         .value();
  EXPECT_THAT(OtherMountsOf(table, table[0]), ElementsAre(Field(&MountEntry::target, "/b")));
  EXPECT_THAT(OtherMountsOf(table, table[2]), ElementsAre());
}

// What the running kernel writes parses, and has a root.
TEST(ReadMountTable, ReadsThisProcessesOwn) {
  const auto table = ReadMountTable();
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_NE(FindMount(*table, "/"), nullptr);
}

}  // namespace
}  // namespace cryptvol::mount
