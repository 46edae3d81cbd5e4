#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "filesystem/tools.h"

namespace cryptvol::filesystem {
namespace {

using ::testing::HasSubstr;

using Options = std::vector<std::string>;

// What users of other drivers have in their StorageClasses is taken.
TEST(MakeOptions, TakesUsualOptions) {
  EXPECT_TRUE(CheckMakeOptions("ext4", {}).ok());
  EXPECT_TRUE(
      CheckMakeOptions("ext4", {"-I", "256", "-b", "4096", "-O", "^metadata_csum,^64bit"}).ok());
  EXPECT_TRUE(
      CheckMakeOptions("", {"-m0", "-E", "stride=4,lazy_itable_init=0", "-i", "65536"}).ok());
  EXPECT_TRUE(CheckMakeOptions("xfs", {"-m", "reflink=0,crc=1", "-i", "size=1024", "-K"}).ok());
  EXPECT_TRUE(CheckMakeOptions("btrfs", {"--nodesize=16k", "--csum", "xxhash", "-qM"}).ok());
}

struct RefusedCase {
  std::string type;
  Options options;
  std::string named;
};

class RefusedMakeOptions : public ::testing::TestWithParam<RefusedCase> {};

// An option that takes the device, the UUID or the work out of the driver's hands is refused by
// name.
TEST_P(RefusedMakeOptions, AreNamed) {
  const absl::Status status = CheckMakeOptions(GetParam().type, GetParam().options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr(GetParam().named));
}

INSTANTIATE_TEST_SUITE_P(
    Ext4, RefusedMakeOptions,
    ::testing::Values(RefusedCase{"ext4", {"/dev/sda"}, "\"/dev/sda\""},
                      RefusedCase{"ext4", {"-b", "4096", "1000"}, "\"1000\""},
                      RefusedCase{"ext4", {""}, "no option"}, RefusedCase{"ext4", {"-"}, "\"-\""},
                      RefusedCase{"ext4", {"--", "/dev/sda"}, "\"--\""},
                      RefusedCase{"ext4", {"-n"}, "\"-n\""}, RefusedCase{"ext4", {"-qn"}, "\"-n\""},
                      RefusedCase{"ext4", {"-S"}, "\"-S\""}, RefusedCase{"ext4", {"-F"}, "\"-F\""},
                      RefusedCase{"ext4", {"-U", "random"}, "\"-U\""},
                      RefusedCase{"ext4", {"-d", "/etc"}, "\"-d\""},
                      RefusedCase{"ext4", {"-t", "ext2"}, "\"-t\""},
                      RefusedCase{"ext4", {"-l", "/etc/passwd"}, "\"-l\""},
                      RefusedCase{"ext4", {"-z", "/tmp/undo"}, "\"-z\""},
                      RefusedCase{"ext4", {"-E", "stride=2,offset=4096"}, "\"-E offset\""},
                      RefusedCase{"ext4", {"-Eassume_storage_prezeroed"}, "prezeroed\""},
                      RefusedCase{"ext4", {"-J", "device=/dev/sda"}, "\"-J device\""},
                      RefusedCase{"ext4", {"-O", "Journal_Dev"}, "\"-O journal_dev\""},
                      RefusedCase{"ext4", {"-q", "-m"}, "-m lacks its value"}));

INSTANTIATE_TEST_SUITE_P(
    Xfs, RefusedMakeOptions,
    ::testing::Values(RefusedCase{"xfs", {"-N"}, "\"-N\""},
                      RefusedCase{"xfs", {"-p", "/etc/passwd"}, "\"-p\""},
                      RefusedCase{"xfs", {"-c", "options=/etc/passwd"}, "\"-c\""},
                      RefusedCase{"xfs", {"-r", "rtdev=/dev/sda"}, "\"-r\""},
                      RefusedCase{"xfs", {"-d", "agcount=2,name=/dev/sda"}, "\"-d name\""},
                      RefusedCase{"xfs", {"-dfile"}, "\"-d file\""},
                      RefusedCase{"xfs", {"-l", "logdev=/dev/sda"}, "\"-l logdev\""},
                      RefusedCase{"xfs", {"-m", "uuid=generate"}, "\"-m uuid\""}));

INSTANTIATE_TEST_SUITE_P(
    Btrfs, RefusedMakeOptions,
    ::testing::Values(RefusedCase{"btrfs", {"-U", "x"}, "\"-U\""},
                      RefusedCase{"btrfs", {"--uuid=x"}, "\"--uuid\""},
                      RefusedCase{"btrfs", {"-r", "/etc"}, "\"-r\""},
                      RefusedCase{"btrfs", {"--rootdir", "/etc"}, "\"--rootdir\""},
                      RefusedCase{"btrfs", {"--root", "/etc"}, "\"--root\""},
                      RefusedCase{"btrfs", {"--mixed=1"}, "--mixed takes no value"},
                      RefusedCase{"btrfs", {"/dev/sdb"}, "\"/dev/sdb\""}));

// The empty type is ext4, and an unknown one names the three.
TEST(FilesystemType, IsOneOfThree) {
  EXPECT_EQ(NormalizeType("").value(), "ext4");
  EXPECT_EQ(NormalizeType("btrfs").value(), "btrfs");
  const absl::Status status = NormalizeType("ntfs").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("ext4, xfs or btrfs"));
  EXPECT_EQ(CheckMakeOptions("ntfs", {}).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cryptvol::filesystem
