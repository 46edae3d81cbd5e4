#include "block/users.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "block/kernel_tables.h"
#include "testing.h"

namespace cryptvol::block {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::SizeIs;

std::string Process(const TestProcess& process, const std::string& what) {
  return fmt::format("process {} (block_test) {}", process.pid(), what);
}

bool EnterOwnMountNamespace() {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

class UsersTest : public testing::Test {
 protected:
  UsersTest() : loop_(MakeImage(scratch_ / "a.img", 16 * kMiB)) {
    RunTool("mkfs.ext4", {"-q", loop_.path()});
    mount_.emplace(loop_.path(), "ext4", scratch_ / "mnt");
  }

  std::string InMount(const std::string& name) { return mount_->target() + "/" + name; }
  // Without the mount that the tests are done in.
  std::vector<std::string> Users() { return DescribeUsers(loop_.number(), mount_->target()); }

  ScratchDirectory scratch_;
  TestLoop loop_;
  std::optional<TestMount> mount_;
};

// A mounted device that no process uses has its mount as its only user, and none without it.
TEST_F(UsersTest, NamesTheMount) {
  EXPECT_THAT(DescribeUsers(loop_.number()), ElementsAre("mounted on " + mount_->target()));
  EXPECT_THAT(Users(), IsEmpty());
}

// A process with a file open, one whose working directory is in the filesystem, one that has the
// device open, and one that does not use either.
TEST_F(UsersTest, NamesProcesses) {
  ASSERT_EQ(::mkdir(InMount("d").c_str(), 0700), 0);
  TestProcess reader([&] { return ::open(InMount("f").c_str(), O_RDWR | O_CREAT, 0600) >= 0; });
  TestProcess worker([&] { return ::chdir(InMount("d").c_str()) == 0; });
  TestProcess holder([&] { return ::open(loop_.path().c_str(), O_RDONLY) >= 0; });
  TestProcess bystander([&] { return ::chdir(scratch_.path().c_str()) == 0; });
  EXPECT_THAT(Users(), testing::UnorderedElementsAre(Process(reader, "has files open on it"),
                                                     Process(worker, "works in it"),
                                                     Process(holder, "has the device open")));
}

// One process with several uses has one line.
TEST_F(UsersTest, OneLineForAProcess) {
  TestProcess process([&] {
    return ::open(InMount("f").c_str(), O_RDWR | O_CREAT, 0600) >= 0 &&
           ::chroot(mount_->target().c_str()) == 0 && ::chdir("/") == 0;
  });
  EXPECT_THAT(
      Users(),
      ElementsAre(Process(process, "has files open on it and works in it and has its root in it")));
}

// A program that runs from the filesystem keeps it busy without a descriptor.
TEST_F(UsersTest, NamesRunningPrograms) {
  std::filesystem::copy_file("/bin/sleep", InMount("sleep"));
  const std::string program = InMount("sleep");
  TestProcess process([&] {
    ::execl(program.c_str(), "sleep", "100", nullptr);
    return false;
  });
  EXPECT_THAT(Users(),
              ElementsAre(fmt::format("process {} (sleep) runs a program from it", process.pid())));
}

// A file open on something that is mounted below the filesystem is not open on it.
TEST_F(UsersTest, KnowsNestedMounts) {
  TestMount nested("none", "tmpfs", InMount("nested"));
  TestProcess process([&] {
    return ::chdir(nested.target().c_str()) == 0 && ::open("f", O_RDWR | O_CREAT, 0600) >= 0;
  });
  EXPECT_THAT(Users(), IsEmpty());
}

// A mount that leaked into another mount namespace, with what is open there, after ours is gone.
TEST_F(UsersTest, SeesOtherMountNamespaces) {
  TestProcess process(
      [&] { return EnterOwnMountNamespace() && ::chdir(InMount("").c_str()) == 0; });
  const std::string target = mount_->target();
  mount_->Unmount();
  EXPECT_THAT(
      DescribeUsers(loop_.number()),
      ElementsAre(fmt::format("mounted on {} in the mount namespace of process {} (block_test)",
                              target, process.pid()),
                  Process(process, "works in it")));
  // The exception is for our own namespace only.
  EXPECT_THAT(DescribeUsers(loop_.number(), target), SizeIs(2));
}

// A container has a node of its own for the device, by another name and in a filesystem of its own.
TEST_F(UsersTest, SeesDeviceNodesOfContainers) {
  const std::string dev = scratch_ / "dev";
  ASSERT_EQ(::mkdir(dev.c_str(), 0700), 0);
  const DeviceNumber number = loop_.number();
  TestProcess process([&] {
    const std::string node = dev + "/data";
    return EnterOwnMountNamespace() && ::umount2(mount_->target().c_str(), MNT_DETACH) == 0 &&
           ::mount("none", dev.c_str(), "tmpfs", 0, nullptr) == 0 &&
           ::mknod(node.c_str(), S_IFBLK | 0600, gnu_dev_makedev(number.major, number.minor)) ==
               0 &&
           ::open(node.c_str(), O_RDONLY) >= 0;
  });
  EXPECT_THAT(Users(), ElementsAre(Process(process, "has the device open")));
}

// The number of lines is bounded; the last one counts the rest.
TEST_F(UsersTest, BoundsTheLines) {
  std::vector<std::unique_ptr<TestProcess>> processes;
  for (int i = 0; i < 5; ++i) {
    processes.push_back(
        std::make_unique<TestProcess>([&] { return ::chdir(mount_->target().c_str()) == 0; }));
  }
  EXPECT_THAT(DescribeUsers(loop_.number(), mount_->target(), 5), SizeIs(5));
  const auto lines = DescribeUsers(loop_.number(), mount_->target(), 3);
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_THAT(lines[1], HasSubstr("works in it"));
  EXPECT_EQ(lines[2], "and 3 more");
}

// A process's name is its own choice, and reaches no log with control characters.
TEST_F(UsersTest, CleansNames) {
  TestProcess process([&] {
    return ::prctl(PR_SET_NAME, "evil\n\x1b[2J") == 0 && ::chdir(mount_->target().c_str()) == 0;
  });
  EXPECT_THAT(Users(),
              ElementsAre(fmt::format("process {} (evil??[2J) works in it", process.pid())));
}

// A btrfs is found by its device's number, and by the anonymous number that mountinfo has for it.
TEST(BtrfsUsersTest, AreFoundByEitherNumber) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", 128 * kMiB));
  RunTool("mkfs.btrfs", {"-q", loop.path()});
  TestMount mount(loop.path(), "btrfs", scratch / "mnt");
  TestProcess process([&] { return ::chdir(mount.target().c_str()) == 0; });
  auto mounts = ReadMountInfo("/proc/self/mountinfo");
  ASSERT_THAT(mounts, IsOk());
  ASSERT_EQ(mounts->back().target, mount.target());
  for (DeviceNumber number : {loop.number(), mounts->back().device}) {
    EXPECT_THAT(DescribeUsers(number),
                ElementsAre("mounted on " + mount.target(), Process(process, "works in it")));
  }
}

// The phrase for messages has each user once; when none can be seen it says so.
TEST_F(UsersTest, PhraseNamesEachOnce) {
  TestProcess process([&] { return ::chdir(mount_->target().c_str()) == 0; });
  EXPECT_EQ(UsersPhrase(loop_.number()),
            fmt::format("mounted on {}; {}", mount_->target(), Process(process, "works in it")));
  mount_->Unmount();
}

TEST(UsersPhraseTest, SaysWhenNobodyIsSeen) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", kMiB));
  EXPECT_THAT(UsersPhrase(loop.number()), HasSubstr("nobody who can be seen"));
}

}  // namespace
}  // namespace cryptvol::block
