// What is left of a deleted volume: on filesystems that write in place, on one that does not, and on
// one that has no room to write.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/unique_fd.h"
#include "driver_fixture.h"
#include "fmt/format.h"
#include "header_edit.h"
#include "luks/layout.h"

namespace cryptvol::vm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr size_t kSampleBytes = 64;

class Erase : public DriverTest {
 protected:
  // The backend's directory is on a disk of its own from now on, with that filesystem.
  void PutBackendOn(const std::string& filesystem) {
    driver_->Kill();
    std::filesystem::create_directory(path("disk"));
    const std::string device = NewDevice(192 * kMiB, "disk");
    MustRun(fmt::format("mkfs.{} -q {} && mount {} {}", filesystem, device, device, path("disk")));
    driver_ = std::make_unique<Driver>(
        directory_, std::vector<std::string>{"--backend=loop:" + path("disk/backend")});
    driver_->Start();
  }
  std::string Image(const Volume& volume) const {
    return path("disk/backend/volumes/" + volume.id + ".img");
  }

  // A volume that was used, unstaged.
  Volume Used() {
    const Volume volume = NewVolume();
    EXPECT_CODE(OK, Create(volume, 8 * kMiB));
    EXPECT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "kept");
    EXPECT_CODE(OK, Unstage(volume));
    return volume;
  }
  // Pieces of what the volume's keys need, by their names: both copies' salts, and the keyslot.
  static std::map<std::string, std::string> Samples(const std::string& image) {
    std::map<std::string, std::string> samples;
    const std::map<std::string, off_t> places = {
        {"the primary copy", 104},
        {"the secondary copy", kCopyBytes + 104},
        {"the keyslot's start", 2 * kCopyBytes},
        {"the keyslot's middle", 2 * kCopyBytes + 128 * 1024},
        {"the keyslot's end", 2 * kCopyBytes + 4000 * 64 - kSampleBytes}};
    for (const auto& [name, offset] : places) {
      const auto bytes = ReadBytes(image, kSampleBytes, offset);
      samples[name] = std::string(bytes.begin(), bytes.end());
    }
    return samples;
  }
  // Which of them are still on the disk, wherever.
  std::vector<std::string> OnTheDisk(const std::map<std::string, std::string>& samples) {
    MustRun("sync");
    std::vector<std::string> found;
    for (const auto& [name, bytes] : samples) {
      if (Contains(path("disk.img"), bytes)) found.push_back(name);
    }
    return found;
  }

  // Deletes it while somebody has the image open. That reader finds nothing but zeros where the header
  // was, the volume is gone, and a repeated deletion succeeds.
  void ExpectDeleted(const Volume& volume) {
    const UniqueFd image(::open(Image(volume).c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(image.valid());
    ASSERT_CODE(OK, Delete(volume));
    std::vector<uint8_t> header(luks::kHeaderBytes, 'x');
    ASSERT_EQ(static_cast<ssize_t>(header.size()),
              ::pread(image.get(), header.data(), header.size(), 0));
    EXPECT_EQ(0, std::ranges::count_if(header, [](uint8_t byte) { return byte != 0; }));
    EXPECT_EQ("", MustRun("ls " + path("disk/backend/volumes")));
    EXPECT_CODE(OK, Delete(volume));
  }
};

// Where the filesystem writes in place, nothing of both headers and the keyslot is left on the disk,
// and the log calls that final.
TEST_F(Erase, IsFinalOnExt4) {
  PutBackendOn("ext4");
  const Volume volume = Used();
  const auto samples = Samples(Image(volume));
  ASSERT_EQ(samples.size(), OnTheDisk(samples).size());
  ExpectDeleted(volume);
  EXPECT_THAT(OnTheDisk(samples), IsEmpty());
  EXPECT_THAT(driver_->log(),
              HasSubstr("erased the LUKS header of a deleted volume volume=\"" + volume.id +
                        "\" final=\"yes, except for copies of it made before\""));
}

// btrfs writes elsewhere, and the log says that what was there before may still be.
TEST_F(Erase, IsNotFinalOnBtrfs) {
  PutBackendOn("btrfs");
  const Volume volume = Used();
  ExpectDeleted(volume);
  EXPECT_THAT(driver_->log(),
              HasSubstr("erased the LUKS header of a deleted volume volume=\"" + volume.id +
                        "\" final=\"no: btrfs keeps old blocks until it uses them again\""));
}

// Nor has a full btrfs room to overwrite anything: the header is discarded, the volume deleted all the
// same, and the log says what was not done.
TEST_F(Erase, OnAFullDiskIsADiscard) {
  PutBackendOn("btrfs");
  const Volume volume = Used();
  const std::string image = Image(volume);
  for (int i = 0; i < 2; ++i) {  // what is freed when it is written out fills up too
    EXPECT_THAT(Shell("head -c 1G /dev/zero >> " + path("disk/fill")).output,
                HasSubstr("No space left"));
    MustRun("sync");
  }
  ExpectDeleted(volume);
  EXPECT_THAT(driver_->log(),
              AllOf(HasSubstr("the LUKS header of a deleted volume was not erased, only discarded: "
                              "the disk may hold it until it uses the blocks again volume=\"" +
                              volume.id + "\" image=\"" + image + "\" error=\""),
                    HasSubstr("ENOSPC"), Not(HasSubstr("erased the LUKS header"))));
}

// Metadata that is damaged while a pod has the volume keeps it neither from being taken down nor from
// being deleted, with its header.
TEST_F(Erase, DamagedMetadataKeepsNothingFromEnding) {
  const Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 32 << 20));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  const std::string metadata = path("backend/volumes/" + volume.id + ".json");
  ASSERT_TRUE(std::filesystem::exists(metadata));
  WriteFile(metadata, "{}");
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
  EXPECT_EQ("", MustRun("losetup --noheadings --output=NAME --associated " + ImageOf(volume)));
  EXPECT_CODE(DATA_LOSS, Stage(volume));
  EXPECT_CODE(OK, Delete(volume));
  EXPECT_FALSE(std::filesystem::exists(ImageOf(volume)));
  EXPECT_THAT(driver_->log(), ::testing::HasSubstr("erased the LUKS header of a deleted volume"));
}

}  // namespace
}  // namespace cryptvol::vm
