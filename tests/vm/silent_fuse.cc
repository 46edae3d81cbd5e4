#include "silent_fuse.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/mount.h>
#include <unistd.h>

#include <vector>

#include "fmt/format.h"

namespace cryptvol::vm {
namespace {

constexpr size_t kRequestBytes = 1 << 18;  // more than the kernel's largest

}  // namespace

SilentFuse::SilentFuse(const std::string& target)
    : target_(target), device_(::open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
  EXPECT_TRUE(device_.valid());
  const std::string options =
      fmt::format("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device_.get());
  EXPECT_EQ(0, ::mount("silent", target.c_str(), "fuse", 0, options.c_str()));
  Greet();
  daemon_ = std::thread([this] { TakeRequests(); });
}

// Until it has been greeted the kernel lets whoever waits be killed; what comes later, not.
void SilentFuse::Greet() {
  std::vector<char> request(kRequestBytes);
  ASSERT_GT(::read(device_.get(), request.data(), request.size()), 0);
  const auto* const header = reinterpret_cast<const fuse_in_header*>(request.data());
  ASSERT_EQ(FUSE_INIT, header->opcode);
  struct {
    fuse_out_header header;
    fuse_init_out body;
  } answer = {};
  answer.header.len = sizeof(answer);
  answer.header.unique = header->unique;
  answer.body.major = FUSE_KERNEL_VERSION;
  answer.body.minor = FUSE_KERNEL_MINOR_VERSION;
  answer.body.max_write = 4096;
  ASSERT_EQ(static_cast<ssize_t>(sizeof(answer)), ::write(device_.get(), &answer, sizeof(answer)));
}

void SilentFuse::TakeRequests() {
  std::vector<char> request(kRequestBytes);
  while (!stop_) {
    pollfd ready = {device_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 50) != 1) continue;
    if (::read(device_.get(), request.data(), request.size()) < 0) return;  // unmounted
  }
}

void SilentFuse::End() {
  stop_ = true;
  if (daemon_.joinable()) daemon_.join();
  device_.Reset();
  ::umount2(target_.c_str(), MNT_DETACH);
}

}  // namespace cryptvol::vm
