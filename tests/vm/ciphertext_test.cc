// What is written through an encrypted volume is nowhere on the raw device: the whole of it is
// searched.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "driver_fixture.h"

namespace cryptvol::vm {
namespace {

// 64 bytes, so that a file of it has it whole in each of its sectors; also a good name for a file.
constexpr char kPattern[] = "if-this-is-seen-on-the-raw-device-then-nothing-is-encrypted-0123";
static_assert(sizeof(kPattern) - 1 == 64);
constexpr int64_t kMiB = int64_t{1} << 20;

std::string PatternOf(size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += kPattern;
  return text;
}

int64_t SmallestSize(const std::string& filesystem) {
  if (filesystem == "xfs") return 300 * kMiB;
  return filesystem == "btrfs" ? 112 * kMiB : 32 * kMiB;
}

class Ciphertext : public DriverTest {
 protected:
  Volume PlainVolume() {
    Volume volume = NewVolume();
    volume.context.clear();
    volume.secrets.clear();
    return volume;
  }

  // Leaves the pattern in a published filesystem, as a file's content or as its name, and reads it
  // again after the volume was unstaged and staged.
  void WriteThroughMount(const Volume& volume, const std::string& name,
                         const std::string& content) {
    ASSERT_CODE(OK, Create(volume, SmallestSize(volume.filesystem)));
    ASSERT_CODE(OK, Stage(volume));
    ASSERT_CODE(OK, Publish(volume, path("pod")));
    WriteFile(path("pod/" + name), content);
    MustRun("sync -f " + path("pod"));
    ASSERT_CODE(OK, Unpublish(volume, path("pod")));
    ASSERT_CODE(OK, Unstage(volume));
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_TRUE(content == ReadFile(volume.staging + "/" + name));
    ASSERT_CODE(OK, Unstage(volume));
  }

  // Writes the pattern at the start, in the middle and at the end of a published block device.
  void WriteThroughDevice(const Volume& volume) {
    const std::string file = path("pattern");
    WriteFile(file, PatternOf(kMiB));
    ASSERT_CODE(OK, Create(volume, 9 * kMiB));
    ASSERT_CODE(OK, Stage(volume));
    ASSERT_CODE(OK, Publish(volume, path("pod")));
    for (const char* place : {"0", "4", "8"}) {
      MustRun("dd status=none bs=1M oflag=direct conv=notrunc,fsync seek=" + std::string(place) +
              " if=" + file + " of=" + path("pod"));
    }
    ASSERT_CODE(OK, Unpublish(volume, path("pod")));
    ASSERT_CODE(OK, Unstage(volume));
    ASSERT_CODE(OK, Stage(volume));
    ASSERT_CODE(OK, Publish(volume, path("pod")));
    for (const char* place : {"0", "4", "8"}) {
      MustRun("dd status=none bs=1M count=1 skip=" + std::string(place) + " if=" + path("pod") +
              " | cmp - " + file);
    }
    ASSERT_CODE(OK, Unpublish(volume, path("pod")));
    ASSERT_CODE(OK, Unstage(volume));
  }

  // Content and name at once.
  void ExpectNothingSeen(const std::string& filesystem) {
    Volume volume = NewVolume();
    volume.filesystem = filesystem;
    WriteThroughMount(volume, kPattern, PatternOf(kMiB));
    EXPECT_FALSE(Contains(ImageOf(volume), kPattern));
  }
  void ExpectContentSeen(const std::string& filesystem) {
    Volume volume = PlainVolume();
    volume.filesystem = filesystem;
    WriteThroughMount(volume, "file", PatternOf(kMiB));
    EXPECT_TRUE(Contains(ImageOf(volume), kPattern));
  }
};

// Neither a file's content nor its name, in ext4.
TEST_F(Ciphertext, NothingIsSeenOfExt4) { ExpectNothingSeen("ext4"); }

// Neither in xfs.
TEST_F(Ciphertext, NothingIsSeenOfXfs) { ExpectNothingSeen("xfs"); }

// Neither in btrfs.
TEST_F(Ciphertext, NothingIsSeenOfBtrfs) { ExpectNothingSeen("btrfs"); }

// Nor what is written to a block volume.
TEST_F(Ciphertext, NothingIsSeenOfABlockVolume) {
  Volume volume = NewVolume();
  volume.block = true;
  WriteThroughDevice(volume);
  EXPECT_FALSE(Contains(ImageOf(volume), kPattern));
}

// Nor anything on a static volume's device.
TEST_F(Ciphertext, NothingIsSeenOfAStaticVolume) {
  const std::string device = NewDevice(48 * kMiB);
  const Volume volume = StaticVolume(device);
  ASSERT_CODE(OK, Stage(volume));
  WriteFile(volume.staging + "/" + kPattern, PatternOf(kMiB));
  ASSERT_CODE(OK, Unstage(volume));
  EXPECT_FALSE(Contains(device, kPattern));
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_TRUE(PatternOf(kMiB) == ReadFile(volume.staging + "/" + kPattern));
  ASSERT_CODE(OK, Unstage(volume));
}

// The same search finds the content of a plain volume's file: it would find it above.
TEST_F(Ciphertext, TheSearchFindsAPlainFilesContent) {
  for (const char* filesystem : {"ext4", "xfs", "btrfs"}) {
    SCOPED_TRACE(filesystem);
    ExpectContentSeen(filesystem);
    EXPECT_CODE(OK, Delete(PlainVolume()));
  }
}

// And a plain volume's file name.
TEST_F(Ciphertext, TheSearchFindsAPlainFilesName) {
  const Volume volume = PlainVolume();
  WriteThroughMount(volume, kPattern, "other content");
  EXPECT_TRUE(Contains(ImageOf(volume), kPattern));
}

// And what was written to a plain block volume.
TEST_F(Ciphertext, TheSearchFindsAPlainBlockVolumesContent) {
  Volume volume = PlainVolume();
  volume.block = true;
  WriteThroughDevice(volume);
  EXPECT_TRUE(Contains(ImageOf(volume), kPattern));
}

}  // namespace
}  // namespace cryptvol::vm
