// Headers on a real loop device, without device-mapper.
#ifndef CRYPTVOL_TESTS_WORKER_LOOP_FIXTURE_H_
#define CRYPTVOL_TESTS_WORKER_LOOP_FIXTURE_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/subprocess.h"
#include "block/loop_device.h"
#include "volume/device_worker.h"

namespace cryptvol::worker {

inline Deadline InTime() { return Deadline::After(std::chrono::seconds(60)); }

// A file as a block device, for as long as the test runs.
class LoopTest : public ::testing::Test {
 protected:
  LoopTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "cryptvol-worker-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    image_ = directory_ + "/disk.img";
    std::ofstream(image_).close();
    std::filesystem::resize_file(image_, 64 << 20);
    device_ = *block::AttachLoop(image_);
  }
  ~LoopTest() override {
    EXPECT_EQ(absl::OkStatus(), block::DetachLoop(image_));
    std::filesystem::remove_all(directory_);
  }

  static volume::HeaderPlan Plan() {
    volume::HeaderPlan plan;
    plan.parameters = {"aes", "xts-plain64", 512, "sha256", "pbkdf2", 1000, 0, 0, 4096};
    plan.luks_uuid = "11111111-2222-4333-8444-555555555555";
    plan.token = {"pvc-1", "ext4", "99999999-2222-4333-8444-555555555555",
                  luks::VolumeState::kFormatting, "key-1"};
    return plan;
  }
  // By the stock cryptsetup.
  void Cryptsetup(std::vector<std::string> args) const {
    args.insert(args.begin(), "--batch-mode");
    const auto result = RunCommand({"cryptsetup", std::move(args), {}}, InTime());
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_TRUE(result->ok()) << result->Complaint();
  }
  // A header with one keyslot, for the key "k".
  void Format(const std::vector<std::string>& args) const {
    std::ofstream(directory_ + "/key") << "k";
    std::vector<std::string> all = {"luksFormat", "--key-file", directory_ + "/key"};
    all.insert(all.end(), args.begin(), args.end());
    all.push_back(device_);
    Cryptsetup(std::move(all));
  }
  int TestPassphrase(const std::string& passphrase) const {
    std::ofstream(directory_ + "/key") << passphrase;
    auto result =
        RunCommand({"cryptsetup",
                    {"open", "--test-passphrase", "--key-file", directory_ + "/key", device_},
                    {}},
                   InTime());
    return result.ok() ? result->exit_status : -1;
  }

  std::string directory_;
  std::string image_;
  std::string device_;
};

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_TESTS_WORKER_LOOP_FIXTURE_H_
