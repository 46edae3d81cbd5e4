#include "mount/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include "base/status.h"
#include "mount/mounter.h"

namespace cryptvol::mount {
namespace {

using ::testing::HasSubstr;

class AllowedMountFlags : public ::testing::TestWithParam<std::string> {};

// What users of Kubernetes write in mountOptions is taken.
TEST_P(AllowedMountFlags, AreTaken) {
  const absl::Status status = CheckMountFlags({GetParam()});
  EXPECT_TRUE(status.ok()) << status;
}

INSTANTIATE_TEST_SUITE_P(
    Flags, AllowedMountFlags,
    ::testing::Values("noatime", "nodiratime", "discard", "data=ordered", "commit=30",
                      "errors=remount-ro", "nobarrier", "nouuid", "noload", "norecovery", "ro",
                      "rw", "compress=zstd:3", "subvol=a", "usrquota", "groupid", "offsets=1",
                      "nofail", "context=system_u:object_r:container_file_t:s0",
                      R"(context="system_u:object_r:container_file_t:s0:c1,c2")",
                      R"(fscontext="a,b")", R"(defcontext="a,b")", R"(rootcontext="a,b")"));

class RefusedMountFlags : public ::testing::TestWithParam<std::string> {};

// What would break out of the driver's promises is refused, by name.
TEST_P(RefusedMountFlags, AreNamed) {
  const absl::Status status = CheckMountFlags({"noatime", GetParam()});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(
    Flags, RefusedMountFlags,
    ::testing::Values("bind", "rbind", "move", "remount", "loop", "loop=/dev/loop7", "offset=4096",
                      "sizelimit=1", "make-shared", "make-rprivate", "shared", "rslave",
                      "x-mount.mkdir", "X-mount.idmap=x", "user", "users", "user=root", "owner",
                      "group", "helper=x", "uhelper=x", "device=/dev/sda", "logdev=/dev/sda",
                      "journal_path=/dev/sda", "verity.hashdevice=/dev/sda", "", "=x",
                      "noatime,bind", "commit=1,bind", R"(context="a",bind)", R"(context="a","b")",
                      R"(x="a,b")", R"(commit="30")", R"(context=")", R"("noatime")"));

// Control characters never reach the message.
TEST(CheckMountFlags, RefusesControlCharacters) {
  for (const std::string& flag :
       {std::string("no\0atime", 8), std::string("a\nb"), std::string("a\x7F")}) {
    const absl::Status status = CheckMountFlags({flag});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(status), Not(HasSubstr(flag)));
  }
}

// The split between options of a mount and of the filesystem.
TEST(IsPerMountOption, TellsTheTwoApart) {
  for (const char* option :
       {"ro", "rw", "noexec", "nosuid", "nodev", "noatime", "relatime", "nosymfollow"}) {
    EXPECT_TRUE(IsPerMountOption(option)) << option;
  }
  for (const char* option :
       {"discard", "data=ordered", "commit=30", "errors=remount-ro", "sync", "ro=1", ""}) {
    EXPECT_FALSE(IsPerMountOption(option)) << option;
  }
}

// Of contradicting options the last wins; the request's own read-only flag wins over all.
TEST(ParseMountAttributes, LastWins) {
  auto attributes = ParseMountAttributes({"noexec", "exec", "noatime"}, false).value();
  EXPECT_EQ(attributes.set, MOUNT_ATTR_NOATIME);
  EXPECT_EQ(attributes.clear, MOUNT_ATTR_NOEXEC | MOUNT_ATTR__ATIME);
  attributes = ParseMountAttributes({"ro", "rw"}, false).value();
  EXPECT_EQ(attributes.set, 0u);
  attributes = ParseMountAttributes({"rw"}, true).value();
  EXPECT_EQ(attributes.set, MOUNT_ATTR_RDONLY);
  EXPECT_EQ(ParseMountAttributes({"discard"}, false).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cryptvol::mount
