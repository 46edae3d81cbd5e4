// Directories in memory: where they are, and that nothing stays.
#include "etcd/memory_directory.h"

#include <linux/magic.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "gtest/gtest.h"
#include "tests/etcd/testing.h"

namespace cryptvol::etcd {
namespace {

using testing::Fails;
using testing::IsOk;

constexpr uint64_t kBytes = 1 << 20;

long FilesystemOf(const std::string& path) {
  struct ::statfs status = {};
  return ::statfs(path.c_str(), &status) == 0 ? status.f_type : 0;
}

bool GoesAway(const std::string& path) {
  for (int i = 0; i < 600 && std::filesystem::exists(path); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return !std::filesystem::exists(path);
}

// What lies in either kind of directory lies in memory, and is found again under its path.
TEST(MemoryDirectory, IsInMemory) {
  for (const bool allow_private : {true, false}) {
    const auto directory = MemoryDirectory::Create(kBytes, allow_private);
    ASSERT_THAT(directory, IsOk());
    const long type = FilesystemOf(directory->path());
    EXPECT_TRUE(type == TMPFS_MAGIC || type == RAMFS_MAGIC) << type;
    std::ofstream(directory->path() + "/file") << "content";
    EXPECT_TRUE(std::filesystem::exists(directory->path() + "/file"));
    if (::geteuid() == 0 && allow_private) {
      EXPECT_EQ(directory->shared_path(), "");
    }
  }
}

// A shared one is for its owner alone, and goes with the object.
TEST(MemoryDirectory, SharedOneIsRemovedByItsDestructor) {
  std::string path;
  {
    const auto directory = MemoryDirectory::Create(kBytes, /*allow_private=*/false);
    ASSERT_THAT(directory, IsOk());
    path = directory->shared_path();
    struct ::stat status = {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700u);
    std::filesystem::create_directories(path + "/a/b");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

// A shared one goes also when its process is killed.
TEST(MemoryDirectory, SharedOneIsRemovedAfterSigkill) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto directory = MemoryDirectory::Create(kBytes, /*allow_private=*/false);
    if (!directory.ok()) ::_exit(1);
    std::ofstream(directory->path() + "/file") << "content";
    const std::string path = directory->shared_path() + "\n";
    if (::write(fds[1], path.data(), path.size()) < 0) ::_exit(1);
    while (true) ::pause();
  }
  ::close(fds[1]);
  std::string path(100, '\0');
  const ssize_t got = ::read(fds[0], path.data(), path.size());
  ::close(fds[0]);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ASSERT_GT(got, 1);
  path.resize(static_cast<size_t>(got) - 1);
  EXPECT_TRUE(GoesAway(path)) << path;
}

// More than the machine has is refused before anything is written.
TEST(MemoryDirectory, RefusesWhatDoesNotFit) {
  EXPECT_THAT(MemoryDirectory::Create(uint64_t{1} << 60),
              Fails(absl::StatusCode::kResourceExhausted, "MiB to give"));
}

}  // namespace
}  // namespace cryptvol::etcd
