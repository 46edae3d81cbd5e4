// Devices that held a volume and now show something else: it is neither formatted nor written to,
// and when the device tells the truth again, everything is there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "fmt/format.h"
#include "refusals.h"
#include "stock_tools.h"

namespace cryptvol::vm {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;

constexpr int64_t kSectorsPerMiB = 2048;
constexpr int64_t kMiBs = 48;  // of the device

class LyingDevices : public RefusalTest {
 protected:
  // A static volume with data, unstaged, on a device of which SetTable says what it shows.
  Volume UsedVolume() {
    disk_ = NewDevice(kMiBs * kMiB);
    MustRun("dmsetup create cvtest-lie --table '" + Truth(0, kMiBs) + "'");
    const Volume volume = StaticVolume("/dev/mapper/cvtest-lie");
    Fill(volume);
    return volume;
  }
  void Fill(const Volume& volume) {
    ASSERT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "kept in " + volume.id);
    ASSERT_CODE(OK, Unstage(volume));
  }
  void ExpectKept(const Volume& volume) {
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_EQ("kept in " + volume.id, ReadFile(volume.staging + "/file"));
    ASSERT_CODE(OK, Unstage(volume));
  }

  // Lines of a table, for [begin, end) in MiB.
  std::string Truth(int64_t begin, int64_t end) const {
    return fmt::format("{} {} linear {} {}\n", begin * kSectorsPerMiB,
                       (end - begin) * kSectorsPerMiB, disk_, begin * kSectorsPerMiB);
  }
  static std::string Zeros(int64_t begin, int64_t end) {
    return fmt::format("{} {} zero\n", begin * kSectorsPerMiB, (end - begin) * kSectorsPerMiB);
  }
  // The truth, but for a page that cannot be read.
  std::string TruthWithBadPage(int64_t offset) const {
    const int64_t bad = offset / 512;
    const int64_t end = kMiBs * kSectorsPerMiB;
    std::string table;
    if (bad > 0) table += fmt::format("0 {} linear {} 0\n", bad, disk_);
    table += fmt::format("{} 8 error\n", bad);
    if (bad + 8 < end) {
      table += fmt::format("{} {} linear {} {}\n", bad + 8, end - bad - 8, disk_, bad + 8);
    }
    return table;
  }
  void SetTable(const std::string& table) {
    WriteFile(path("table"), table);
    MustRun("dmsetup suspend --noflush --nolockfs cvtest-lie && dmsetup load cvtest-lie " +
            path("table") + " && dmsetup resume cvtest-lie");
  }
  void ExpectRefused(const Volume& volume, StatusCode code, std::vector<std::string> words) {
    ExpectStageRefused(volume, path("disk.img"), code, std::move(words));
  }
  // Refused as long as the device shows that, and whole afterwards.
  void ExpectRefusedWhile(const std::string& table, StatusCode code,
                          std::vector<std::string> words) {
    const Volume volume = UsedVolume();
    SetTable(table);
    ExpectRefused(volume, code, words);
    ExpectRefused(volume, code, words);
    SetTable(Truth(0, kMiBs));
    ExpectKept(volume);
  }

  std::string disk_;
};

// All of it reads zeros for a while, which is what a blank device does.
TEST_F(LyingDevices, ZerosThenTheTruth) {
  ExpectRefusedWhile(Zeros(0, kMiBs), StatusCode::DATA_LOSS,
                     {"reads as zeros", "formatted before", "nothing was written"});
}

// The start reads zeros, where the header is, and the end.
TEST_F(LyingDevices, ZerosForTheHeader) {
  const Volume volume = UsedVolume();
  SetTable(Zeros(0, 16) + Truth(16, kMiBs));
  ExpectRefused(volume, StatusCode::DATA_LOSS, {"formatted before"});
  SetTable(Truth(0, kMiBs));
  ExpectKept(volume);
}

// The header is there, and what is behind it reads zeros: no place for a new filesystem.
TEST_F(LyingDevices, ZerosForTheData) {
  const Volume volume = UsedVolume();
  SetTable(Truth(0, 16) + Zeros(16, kMiBs));
  ExpectRefused(volume, StatusCode::DATA_LOSS, {"superblock is gone", "nothing was written"});
  SetTable(Truth(0, kMiBs));
  ExpectKept(volume);
}

// A peer's volume that was never staged here, whose data reads zeros for a while.
TEST_F(LyingDevices, ZerosForTheDataOfAPeersVolume) {
  const Volume ours = UsedVolume();
  disk_ = NewLuksDevice("a peer's", "", kMiBs * kMiB);
  const Volume volume = StaticVolume("/dev/mapper/cvtest-lie", "static-peers");
  {
    StockMapping mapping(disk_, KeyFile("a peer's"));
    MustRun("mkfs.ext4 -q " + mapping.path());
  }
  SetTable(Truth(0, 16) + Zeros(16, kMiBs));
  Volume opened = volume;
  opened.secrets = {{"CRYPTO_KEY_VALUE", "a peer's"}};
  ExpectStageRefused(opened, path("luks.img"), StatusCode::FAILED_PRECONDITION,
                     {"make one by hand"});
  SetTable(Truth(0, kMiBs));
  ASSERT_CODE(OK, Stage(opened));
  EXPECT_CODE(OK, Unstage(opened));
}

// A block volume whose data lies where nobody looks for zeros is not made a filesystem's.
TEST_F(LyingDevices, ABlockVolumeStagedAsAFilesystem) {
  disk_ = NewDevice(64 * kMiB);
  Volume volume = StaticVolume(disk_);
  volume.block = true;
  ASSERT_CODE(OK, Stage(volume));
  MustRun("dd if=/dev/urandom bs=1M count=1 seek=30 conv=fsync status=none of=/dev/mapper/" +
          MappingOf(volume));
  ASSERT_CODE(OK, Unstage(volume));
  volume.block = false;
  volume.filesystem = "ext4";
  ExpectRefused(volume, StatusCode::FAILED_PRECONDITION, {"used as a block volume"});
}

// Without tokens only the record tells two volumes with one key apart: devices in each other's place.
TEST_F(LyingDevices, SwappedDevicesOfLuks1) {
  std::vector<Volume> volumes;
  for (const char* name : {"one", "two"}) {
    const std::string device = NewDevice(32 * kMiB, name);
    MustRun("cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 --key-file " +
            KeyFile("shared") + " " + device);
    fs::create_symlink(device, path(std::string("by-") + name));
    Volume volume = StaticVolume(path(std::string("by-") + name), std::string("static-") + name);
    volume.block = true;
    volume.secrets = {{"CRYPTO_KEY_VALUE", "shared"}};
    ASSERT_CODE(OK, Stage(volume));
    ASSERT_CODE(OK, Unstage(volume));
    volumes.push_back(volume);
  }
  fs::rename(path("by-one"), path("third"));
  fs::rename(path("by-two"), path("by-one"));
  fs::rename(path("third"), path("by-two"));
  for (const Volume& volume : volumes) {
    EXPECT_THAT(Stage(volume),
                Refused(StatusCode::FAILED_PRECONDITION, {volume.id, "it is another device"}));
    EXPECT_FALSE(IsMapped(volume));
  }
}

// A volume of our own backend whose image shows zeros, as a network filesystem may after a fault.
TEST_F(LyingDevices, ZerosForAnImageOfOurs) {
  const Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  Fill(volume);
  const std::string image = ImageOf(volume);
  fs::rename(image, path("truth"));
  MustRun("truncate --reference=" + path("truth") + " " + image);
  ExpectStageRefused(volume, image, StatusCode::DATA_LOSS, {"reads as zeros", "formatted before"});
  fs::rename(path("truth"), image);
  ExpectKept(volume);
}

// A page that cannot be read: at the header, its second copy, the keyslot, the superblock.
TEST_F(LyingDevices, BadPages) {
  const Volume volume = UsedVolume();
  for (const int64_t offset : {int64_t{0}, int64_t{16384}, int64_t{32768}, 16 * kMiB}) {
    SCOPED_TRACE(offset);
    SetTable(TruthWithBadPage(offset));
    ExpectRefused(volume, StatusCode::DATA_LOSS, {});
  }
  SetTable(Truth(0, kMiBs));
  ExpectKept(volume);
}

// A bad page at the end, which nothing needs yet, keeps nobody from the data.
TEST_F(LyingDevices, ABadPageAtTheEnd) {
  const Volume volume = UsedVolume();
  SetTable(TruthWithBadPage(kMiBs * kMiB - 4096));
  const grpc::Status status = Stage(volume);
  if (status.ok()) {
    EXPECT_EQ("kept in " + volume.id, ReadFile(volume.staging + "/file"));
    EXPECT_CODE(OK, Unstage(volume));
  } else {
    EXPECT_EQ(StatusCode::DATA_LOSS, status.error_code()) << status.error_message();
  }
  SetTable(Truth(0, kMiBs));
  ExpectKept(volume);
}

// A device that refuses writes for a moment, while pods have the volume: what the journal has and its
// place has not is there when it is staged again.
TEST_F(LyingDevices, LosesWritesWhileMounted) {
  const Volume volume = UsedVolume();
  ASSERT_CODE(OK, Stage(volume));
  WriteFile(volume.staging + "/another", "committed");
  MustRun("sync " + volume.staging + "/another");
  SetTable(fmt::format("0 {} error\n", kMiBs * kSectorsPerMiB));
  MustRun("sync");
  SetTable(Truth(0, kMiBs));
  ASSERT_CODE(OK, Unstage(volume));
  EXPECT_THAT(driver_->log(),
              testing::HasSubstr("not all that was written has reached the device"));
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ("committed", ReadFile(volume.staging + "/another"));
  ASSERT_CODE(OK, Unstage(volume));
  ExpectKept(volume);
}

// A device that lost its end has lost data; what is left is not written to.
TEST_F(LyingDevices, Shrunk) {
  const Volume volume = UsedVolume();
  SetTable(Truth(0, kMiBs - 8));
  ExpectRefused(volume, StatusCode::DATA_LOSS, {"smaller"});
  SetTable(Truth(0, kMiBs));
  ExpectKept(volume);
}

// So has one that was cut to less than its header, which is not too small for a volume: it had one.
TEST_F(LyingDevices, ShrunkToLessThanItsHeader) {
  const Volume volume = UsedVolume();
  SetTable(Truth(0, 12));
  ExpectRefused(volume, StatusCode::DATA_LOSS, {"smaller"});
  SetTable(Truth(0, kMiBs));
  ExpectKept(volume);
}

// An image of ours that was cut short is not what its metadata says.
TEST_F(LyingDevices, AShrunkImageOfOurs) {
  const Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  Fill(volume);
  MustRun("cp --sparse=always " + ImageOf(volume) + " " + path("truth") + " && truncate -s -8M " +
          ImageOf(volume));
  ExpectStageRefused(volume, ImageOf(volume), StatusCode::DATA_LOSS, {"bytes", ImageOf(volume)});
  fs::rename(path("truth"), ImageOf(volume));
  ExpectKept(volume);
}

// A device that only reads now, as some do when they fail: its data can be read, and the volume is
// not said to be writable.
TEST_F(LyingDevices, ReadOnlyAllOfASudden) {
  const Volume volume = UsedVolume();
  MustRun("dmsetup suspend cvtest-lie && dmsetup load --readonly cvtest-lie --table '" +
          Truth(0, kMiBs) + "' && dmsetup resume cvtest-lie");
  const std::string before = Digest(path("disk.img"));
  const grpc::Status status = Stage(volume);
  EXPECT_THAT(status, Refused(StatusCode::FAILED_PRECONDITION, {volume.id, "read-only"}));
  EXPECT_EQ(before, Digest(path("disk.img")));
  Volume reader = volume;
  reader.mode = ::csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_READER_ONLY;
  EXPECT_CODE(OK, Unstage(volume));
  ExpectKept(reader);
  EXPECT_EQ(before, Digest(path("disk.img")));
  SetTable(Truth(0, kMiBs));
  ExpectKept(volume);
}

// Two images in each other's place, of volumes with one key: each says whose it is.
TEST_F(LyingDevices, SwappedImagesOfOurs) {
  Volume one = NewVolume("pvc-one");
  Volume two = NewVolume("pvc-two");
  two.secrets = one.secrets;
  for (const Volume& volume : {one, two}) {
    ASSERT_CODE(OK, Create(volume, 32 * kMiB));
    Fill(volume);
  }
  const auto swap = [&] {
    MustRun(fmt::format("mv {0} {2} && mv {1} {0} && mv {2} {1}", ImageOf(one), ImageOf(two),
                        path("third")));
  };
  swap();
  ExpectStageRefused(one, ImageOf(one), StatusCode::FAILED_PRECONDITION, {"it is volume pvc-two"});
  ExpectStageRefused(two, ImageOf(two), StatusCode::FAILED_PRECONDITION, {"it is volume pvc-one"});
  swap();
  ExpectKept(one);
  ExpectKept(two);
}

}  // namespace
}  // namespace cryptvol::vm
