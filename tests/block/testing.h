// Real images, loop devices, mounts and processes for the tests of src/block. Each cleans up after
// itself.
#ifndef CRYPTVOL_TESTS_BLOCK_TESTING_H_
#define CRYPTVOL_TESTS_BLOCK_TESTING_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status.h"
#include "block/device_report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cryptvol::block {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << Message(StatusOf(arg));
  return StatusOf(arg).ok();
}

// A Status, or StatusOr, of that code whose message has the text in it.
MATCHER_P2(Fails, code, text, "") {
  *result_listener << absl::StatusCodeToString(StatusOf(arg).code()) << ": "
                   << Message(StatusOf(arg));
  return StatusOf(arg).code() == code && Message(StatusOf(arg)).find(text) != std::string::npos;
}

// The value, or the end of the test: by an exception, so that what the test made is cleaned up.
template <typename T>
T Must(absl::StatusOr<T> result) {
  if (!result.ok()) throw std::runtime_error(Message(result.status()));
  return *std::move(result);
}

// A directory of the test's own.
class ScratchDirectory {
 public:
  ScratchDirectory();
  ~ScratchDirectory();
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string MakeImage(const std::string& path, uint64_t bytes);  // sparse; gives the path
void WriteAt(const std::string& path, uint64_t offset, std::string_view bytes);
std::vector<std::string> NamesIn(const std::string& directory);
void RunTool(const std::string& program, const std::vector<std::string>& args);

// A loop device over an image.
class TestLoop {
 public:
  explicit TestLoop(std::string image);
  ~TestLoop();
  const std::string& path() const { return path_; }
  const std::string& image() const { return image_; }
  DeviceNumber number() const;

 private:
  std::string image_;
  std::string path_;
};

DeviceNumber NumberOf(const std::string& node);

// A filesystem mounted at a new directory.
class TestMount {
 public:
  TestMount(const std::string& device, const std::string& type, std::string target);
  ~TestMount() { Unmount(); }
  void Unmount();
  const std::string& target() const { return target_; }

 private:
  std::string target_;
  bool mounted_ = false;
};

// A process that does something and then waits to be killed. The constructor returns when it was
// done; `action` gives false if it could not be.
class TestProcess {
 public:
  explicit TestProcess(const std::function<bool()>& action);
  ~TestProcess();
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

}  // namespace cryptvol::block

#endif  // CRYPTVOL_TESTS_BLOCK_TESTING_H_
