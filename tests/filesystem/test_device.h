// Real filesystems for tests: images, loop devices over them, and mounts, all gone when the test
// ends.
#ifndef CRYPTVOL_TESTS_FILESYSTEM_TEST_DEVICE_H_
#define CRYPTVOL_TESTS_FILESYSTEM_TEST_DEVICE_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/subprocess.h"
#include "base/unique_fd.h"

namespace cryptvol::testing {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr char kUuid[] = "6d0e5a2c-3b1f-4c8e-9a77-0123456789ab";

// A set-up step that fails ends the test with its reason.
inline void Require(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what + ": " + std::strerror(errno));
}

inline std::string RunTool(const std::string& program, std::vector<std::string> args) {
  auto result = RunCommand({.program = program, .args = std::move(args), .inherit = {}},
                           Deadline::After(std::chrono::minutes(2)));
  if (!result.ok()) throw std::runtime_error(std::string(result.status().message()));
  if (!result->ok()) throw std::runtime_error(program + ": " + result->Complaint());
  return result->out + result->err;
}

class TempDir {
 public:
  TempDir() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "cryptvol-test-XXXXXX").string();
    Require(::mkdtemp(pattern.data()) != nullptr, "mkdtemp");
    path_ = pattern;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  std::string Directory(const std::string& name) const {
    std::filesystem::create_directories(File(name));
    return File(name);
  }
  // A sparse file that reads zero.
  std::string Image(const std::string& name, uint64_t bytes) const {
    std::ofstream(File(name)).flush();
    std::filesystem::resize_file(File(name), bytes);
    return File(name);
  }

 private:
  std::string path_;
};

// What is on the device now, as a crash would leave it.
inline std::string Snapshot(const std::string& image, const std::string& copy) {
  RunTool("cp", {"--sparse=always", image, copy});
  return copy;
}

inline void WriteAt(const std::string& path, uint64_t offset, std::string_view bytes) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  Require(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
              static_cast<ssize_t>(bytes.size()),
          "write " + path);
}

// The kernel detaches it at the last close, also when the test program dies.
class LoopDevice {
 public:
  explicit LoopDevice(const std::string& image, bool read_only = false) {
    UniqueFd backing(::open(image.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
    UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    Require(backing.valid() && control.valid(), "open " + image + " for a loop device");
    loop_config config = {};
    config.fd = static_cast<uint32_t>(backing.get());
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? uint32_t{LO_FLAGS_READ_ONLY} : 0);
    // Somebody else may take the free device first.
    for (int attempt = 0; attempt < 100; ++attempt) {
      path_ = "/dev/loop" + std::to_string(::ioctl(control.get(), LOOP_CTL_GET_FREE));
      fd_.Reset(::open(path_.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
      if (fd_.valid() && ::ioctl(fd_.get(), LOOP_CONFIGURE, &config) == 0) return;
    }
    Require(false, "attach " + image);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  UniqueFd fd_;
};

class ScopedMount {
 public:
  ScopedMount(const std::string& source, const std::string& target, const std::string& type,
              unsigned long flags = 0, const std::string& data = "")
      : target_(target) {
    Require(::mount(source.c_str(), target.c_str(), type.c_str(), flags, data.c_str()) == 0,
            "mount " + source);
  }
  // For what the code under test is to mount.
  explicit ScopedMount(const std::string& target) : target_(target) {}
  ScopedMount(const ScopedMount&) = delete;
  ScopedMount& operator=(const ScopedMount&) = delete;
  ~ScopedMount() {
    while (::umount2(target_.c_str(), UMOUNT_NOFOLLOW) == 0) {
    }
  }

 private:
  std::string target_;
};

inline std::vector<std::string> AllTypes() { return {"ext4", "xfs", "btrfs"}; }

// Those that the running kernel can mount. Asking for one loads its module; /dev/null is no
// filesystem.
inline std::vector<std::string> MountableTypes() {
  std::vector<std::string> types = AllTypes();
  std::erase_if(types, [](const std::string& type) {
    return ::mount("/dev/null", "/", type.c_str(), MS_RDONLY, nullptr) != 0 && errno == ENODEV;
  });
  return types;
}

inline uint64_t ImageBytes(const std::string& type) { return (type == "xfs" ? 320 : 128) * kMiB; }

inline std::string TypeName(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

// A file whose content is durable, as a database would leave it.
inline void WriteDurably(const std::string& path, std::string_view content) {
  UniqueFd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  Require(fd.valid() &&
              ::write(fd.get(), content.data(), content.size()) ==
                  static_cast<ssize_t>(content.size()) &&
              ::fsync(fd.get()) == 0,
          "write " + path);
}

}  // namespace cryptvol::testing

#endif  // CRYPTVOL_TESTS_FILESYSTEM_TEST_DEVICE_H_
