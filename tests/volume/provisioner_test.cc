#include "volume/provisioner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/status.h"
#include "block/loop_backend.h"
#include "block/static_records.h"
#include "volume/storage.h"

namespace cryptvol::volume {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class ProvisionerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string directory = ::testing::TempDir() + "provisioner.XXXXXX";
    ASSERT_NE(nullptr, ::mkdtemp(directory.data()));
    directory_ = directory;
    std::vector<std::unique_ptr<block::Backend>> backends;
    for (const char* name : {"backend", "other"}) {
      auto backend =
          block::LoopBackend::Open(directory_ + "/" + name, directory_ + "/identity-of-" + name);
      ASSERT_TRUE(backend.ok()) << backend.status();
      backends.push_back(*std::move(backend));
    }
    auto records = block::StaticRecords::Open(directory_ + "/records");
    ASSERT_TRUE(records.ok()) << records.status();
    auto shared = std::make_unique<block::StaticRecords>(*std::move(records));
    records_ = shared.get();
    storage_ = std::make_unique<Storage>(std::move(backends), std::move(shared));
    Environment environment = {};
    environment.storage = storage_.get();
    environment.read_mount_table = [] { return std::vector<mount::MountEntry>(); };
    // There are no workers: who removed a saved header would crash.
    environment.escrow = {.directory = {.path = directory_ + "/escrow", .identity_file = ""},
                          .recipients = {"age1"}};
    provisioner_ = std::make_unique<Provisioner>(std::move(environment));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  absl::Status Create(uint64_t bytes, uint64_t required, uint64_t limit) {
    CreateRequest request;
    request.name = "pvc-1";
    request.capacity_bytes = bytes;
    request.required_bytes = required;
    request.limit_bytes = limit;
    return provisioner_->Create(request).status();
  }

  std::string directory_;
  block::StaticRecords* records_ = nullptr;
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<Provisioner> provisioner_;
};

// CreateVolume, repeated: the volume that exists will do when its size lies within what is asked now,
// whatever size a new one would have.
TEST_F(ProvisionerTest, AnExistingVolumeOfAPossibleSizeWillDo) {
  ASSERT_TRUE(Create(64 * kMiB, 64 * kMiB, 0).ok());
  EXPECT_TRUE(Create(64 * kMiB, 64 * kMiB, 64 * kMiB).ok());
  EXPECT_TRUE(Create(32 * kMiB, 32 * kMiB, 0).ok());
  EXPECT_TRUE(Create(1024 * kMiB, 0, 0).ok());
  const absl::Status more = Create(65 * kMiB, 65 * kMiB, 0);
  EXPECT_EQ(absl::StatusCode::kAlreadyExists, more.code());
  EXPECT_THAT(std::string(more.message()), ::testing::HasSubstr("with 67108864 bytes"));
  EXPECT_EQ(absl::StatusCode::kAlreadyExists, Create(32 * kMiB, 32 * kMiB, 48 * kMiB).code());
}

// A backend whose disk is not mounted keeps no volume from being made in another.
TEST_F(ProvisionerTest, ABackendThatIsAwayIsNoOthersTrouble) {
  std::filesystem::rename(directory_ + "/other", directory_ + "/unmounted");
  EXPECT_TRUE(Create(64 * kMiB, 64 * kMiB, 0).ok());
  CreateRequest there;
  there.name = "pvc-2";
  there.capacity_bytes = kMiB;
  there.options.backend = "loop:" + directory_ + "/other";
  EXPECT_EQ(absl::StatusCode::kFailedPrecondition, provisioner_->Create(there).status().code());
}

// DeleteVolume of a static volume, which this node has had, takes nothing: neither its device nor its saved
// headers.
TEST_F(ProvisionerTest, AStaticVolumeKeepsItsSavedHeaders) {
  block::FormatRecord record;
  record.state = block::FormatState::kFormatted;
  record.luks_uuid = "6cbbd08a-36b4-4b2b-a6c5-8b0d7ed41d4d";
  record.device_bytes = 64 * kMiB;
  ASSERT_TRUE(records_->Store("archive", record).ok());
  EXPECT_TRUE(provisioner_->Delete("archive").ok());
}

// Where the record of a static volume is damaged, nobody knows what the volume is: its saved headers
// stay, and the call says why, so that it is repeated.
TEST_F(ProvisionerTest, ADamagedRecordIsNoDeletion) {
  const std::string file = records_->PathOf("archive");
  std::filesystem::create_directories(std::filesystem::path(file).parent_path());
  ASSERT_TRUE(WriteFileAtomically(file, "{").ok());
  EXPECT_THAT(std::string(provisioner_->Delete("archive").message()), ::testing::HasSubstr(file));
}

}  // namespace
}  // namespace cryptvol::volume
