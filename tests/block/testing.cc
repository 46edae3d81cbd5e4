#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <span>

#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "block/directory.h"
#include "block/loop_device.h"

namespace cryptvol::block {

ScratchDirectory::ScratchDirectory() {
  path_ = std::filesystem::temp_directory_path().string() + "/cryptvol-block-XXXXXX";
  EXPECT_NE(::mkdtemp(path_.data()), nullptr);
}

ScratchDirectory::~ScratchDirectory() { std::filesystem::remove_all(path_); }

std::string MakeImage(const std::string& path, uint64_t bytes) {
  auto fd = OpenFile(path, O_RDWR | O_CREAT, 0600);
  EXPECT_THAT(fd, IsOk());
  EXPECT_EQ(::ftruncate(fd->get(), static_cast<off_t>(bytes)), 0);
  return path;
}

void WriteAt(const std::string& path, uint64_t offset, std::string_view bytes) {
  auto fd = OpenFile(path, O_WRONLY);
  ASSERT_THAT(fd, IsOk());
  const std::span data(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  ASSERT_THAT(WriteFullyAt(fd->get(), data, offset, path), IsOk());
  ASSERT_EQ(::fsync(fd->get()), 0);
}

std::vector<std::string> NamesIn(const std::string& directory) {
  auto names = ListDirectory(directory);
  EXPECT_THAT(names, IsOk());
  return names.value_or(std::vector<std::string>());
}

void RunTool(const std::string& program, const std::vector<std::string>& args) {
  auto result = RunCommand({.program = program, .args = args, .inherit = {}},
                           Deadline::After(std::chrono::seconds(60)));
  ASSERT_THAT(result, IsOk());
  ASSERT_TRUE(result->ok()) << program << ": " << result->Complaint();
}

TestLoop::TestLoop(std::string image) : image_(std::move(image)) {
  auto path = AttachLoop(image_);
  EXPECT_THAT(path, IsOk());
  path_ = path.value_or("");
}

TestLoop::~TestLoop() { EXPECT_THAT(DetachLoop(image_), IsOk()); }

DeviceNumber TestLoop::number() const { return NumberOf(path_); }

DeviceNumber NumberOf(const std::string& node) {
  struct stat info = {};
  EXPECT_EQ(::stat(node.c_str(), &info), 0) << node;
  return ToDeviceNumber(info.st_rdev);
}

TestMount::TestMount(const std::string& device, const std::string& type, std::string target)
    : target_(std::move(target)) {
  EXPECT_THAT(MakeDirectories(target_), IsOk());
  mounted_ = ::mount(device.c_str(), target_.c_str(), type.c_str(), 0, nullptr) == 0;
  EXPECT_TRUE(mounted_) << "mount " << device << ": " << ErrnoName(errno);
}

void TestMount::Unmount() {
  if (mounted_) ::umount2(target_.c_str(), MNT_DETACH);
  mounted_ = false;
}

TestProcess::TestProcess(const std::function<bool()>& action) {
  int ready[2];
  EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const char done = action() ? 'y' : 'n';
    if (::write(ready[1], &done, 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  ::close(ready[1]);
  char done = 'y';  // as it stays when a program is executed, which closes the pipe
  EXPECT_GE(::read(ready[0], &done, 1), 0);
  EXPECT_EQ(done, 'y') << "the process could not do what the test needs";
  ::close(ready[0]);
}

TestProcess::~TestProcess() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

}  // namespace cryptvol::block
