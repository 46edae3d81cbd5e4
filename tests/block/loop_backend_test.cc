#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/atomic_file.h"
#include "base/unique_fd.h"
#include "block/inspect.h"
#include "loop_backend_fixture.h"

namespace cryptvol::block {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A volume has room for its header on top, takes no space, is private, and is known after a
// restart.
TEST_F(LoopBackendTest, CreatesAVolume) {
  auto info = backend_->Create(Spec("v1"));
  ASSERT_THAT(info, IsOk());
  EXPECT_FALSE(info->attached);
  struct stat image = {};
  ASSERT_EQ(::stat(File("v1.img").c_str(), &image), 0);
  EXPECT_EQ(static_cast<uint64_t>(image.st_size), 24 * kMiB);
  EXPECT_EQ(image.st_blocks, 0);
  EXPECT_EQ(image.st_mode & 0777, 0600u);
  struct stat metadata = {};
  ASSERT_EQ(::stat(File("v1.json").c_str(), &metadata), 0);
  EXPECT_EQ(metadata.st_mode & 0777, 0600u);
  struct stat volumes = {};
  ASSERT_EQ(::stat(File("").c_str(), &volumes), 0);
  EXPECT_EQ(volumes.st_mode & 0777, 0700u);

  auto known = OpenAgain()->Get("v1");
  ASSERT_THAT(known, IsOk());
  EXPECT_EQ(known->spec.name, Spec("v1").name);
  EXPECT_EQ(known->spec.capacity_bytes, 8 * kMiB);
  EXPECT_EQ(known->spec.header_bytes, 16 * kMiB);
  EXPECT_EQ(known->spec.parameters, Spec("v1").parameters);
}

// A repeat, with the same size or another, gives the volume that exists and does not touch it.
TEST_F(LoopBackendTest, CreateCanBeRepeated) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  WriteAt(File("v1.img"), 0, "data");
  auto repeat = OpenAgain()->Create(Spec("v1", 32 * kMiB));
  ASSERT_THAT(repeat, IsOk());
  EXPECT_EQ(repeat->spec.capacity_bytes, 8 * kMiB);
  auto text = ReadSmallFile(File("v1.img"), 32 * kMiB);
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(*text, testing::StartsWith("data"));
}

// An id that is no safe file name is refused by every call.
TEST_F(LoopBackendTest, RefusesUnsafeIds) {
  for (const std::string& id :
       {std::string(), std::string("../x"), std::string("a/b"), std::string(".hidden"),
        std::string("a b"), std::string(129, 'a'), std::string("a\0b", 3)}) {
    EXPECT_THAT(backend_->Create(Spec(id)), Fails(kInvalid, "volume id"));
    EXPECT_THAT(backend_->Delete(id), Fails(kInvalid, "volume id"));
    EXPECT_THAT(backend_->Get(id), Fails(kInvalid, "volume id"));
    EXPECT_THAT(backend_->Attach(id, false), Fails(kInvalid, "volume id"));
    EXPECT_THAT(backend_->Detach(id), Fails(kInvalid, "volume id"));
    EXPECT_THAT(backend_->LoadFormatRecord(id), Fails(kInvalid, "volume id"));
    EXPECT_THAT(backend_->StoreFormatRecord(id, {}), Fails(kInvalid, "volume id"));
  }
  EXPECT_THAT(Files(), IsEmpty());
}

// Sizes that cannot be, and sums that overflow, are refused and leave nothing.
TEST_F(LoopBackendTest, RefusesImpossibleSizes) {
  VolumeSpec overflow = Spec("v1", ~uint64_t{0} - 511);
  EXPECT_THAT(backend_->Create(overflow), Fails(kInvalid, "no possible size"));
  overflow = Spec("v1");
  overflow.header_bytes = ~uint64_t{0} - 511;
  EXPECT_THAT(backend_->Create(overflow), Fails(kInvalid, "no possible size"));
  EXPECT_THAT(backend_->Create(Spec("v1", 0)), Fails(kInvalid, "no possible size"));
  EXPECT_THAT(backend_->Create(Spec("v1", 4097)), Fails(kInvalid, "no possible size"));
  EXPECT_THAT(Files(), IsEmpty());
}

// A name that cannot be stored is refused before anything is made.
TEST_F(LoopBackendTest, RefusesANameThatIsNotUtf8) {
  VolumeSpec spec = Spec("v1");
  spec.name = "\xff";
  EXPECT_THAT(backend_->Create(spec), Fails(kInvalid, "UTF-8"));
  EXPECT_THAT(Files(), IsEmpty());
}

// An image without metadata is a creation that was cut short: a repeat ends it, with the size it
// asks for.
TEST_F(LoopBackendTest, CreateEndsAnUnfinishedCreation) {
  MakeImage(File("v1.img"), 3 * kMiB);
  MakeImage(File("v1.json.tmpAbC123"), 10);
  EXPECT_THAT(Must(backend_->List()), IsEmpty());
  EXPECT_THAT(backend_->Get("v1"), Fails(absl::StatusCode::kNotFound, "no such volume"));
  EXPECT_THAT(backend_->Attach("v1", false), Fails(absl::StatusCode::kNotFound, "no such volume"));
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  EXPECT_EQ(std::filesystem::file_size(File("v1.img")), 24 * kMiB);
  EXPECT_THAT(backend_->Get("v1"), IsOk());
  EXPECT_THAT(backend_->Delete("v1"), IsOk());
  EXPECT_THAT(Files(), IsEmpty()) << "the temporary file of the first attempt was left";
}

// An image without metadata but with data is no unfinished creation: it is never replaced.
TEST_F(LoopBackendTest, CreateDoesNotReplaceData) {
  MakeImage(File("v1.img"), 24 * kMiB);
  WriteAt(File("v1.img"), 20 * kMiB, "data");
  EXPECT_THAT(backend_->Create(Spec("v1")), Fails(kPrecondition, File("v1.img")));
  EXPECT_EQ(std::filesystem::file_size(File("v1.img")), 24 * kMiB);
  EXPECT_THAT(Files(), ElementsAre("v1.img"));
}

// Deleting removes every trace, can be repeated, and ends a deletion that was cut short.
TEST_F(LoopBackendTest, DeleteCanBeRepeated) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  ASSERT_THAT(backend_->Create(Spec("v10")), IsOk());
  EXPECT_THAT(backend_->Delete("v1"), IsOk());
  EXPECT_THAT(backend_->Delete("v1"), IsOk());
  EXPECT_THAT(Files(), ElementsAre("v10.img", "v10.json"));

  std::filesystem::remove(File("v10.img"));  // the first half of a deletion
  EXPECT_THAT(backend_->Create(Spec("v10")), Fails(absl::StatusCode::kDataLoss, "it is gone"));
  EXPECT_THAT(backend_->Delete("v10"), IsOk());
  EXPECT_THAT(Files(), IsEmpty());
  EXPECT_THAT(backend_->Create(Spec("v10")), IsOk());
}

// Whoever still has the file finds no header in it, and everything else as it was.
TEST_F(LoopBackendTest, DeleteErasesTheHeader) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  const UniqueFd image = Must(OpenFile(File("v1.img"), O_RDWR));
  const std::vector<uint8_t> secret(3000, 'k');
  for (const uint64_t offset : {uint64_t{0}, 9 * kMiB + 5, 16 * kMiB - secret.size()}) {
    ASSERT_THAT(WriteFullyAt(image.get(), secret, offset, "image"), IsOk());
  }
  ASSERT_THAT(WriteFullyAt(image.get(), secret, 16 * kMiB, "image"), IsOk());
  EXPECT_THAT(backend_->Delete("v1"), IsOk());
  std::vector<uint8_t> header(16 * kMiB);
  ASSERT_THAT(ReadFullyAt(image.get(), header, 0, "image"), IsOk());
  EXPECT_EQ(header, std::vector<uint8_t>(16 * kMiB));
  std::vector<uint8_t> data(secret.size());
  ASSERT_THAT(ReadFullyAt(image.get(), data, 16 * kMiB, "image"), IsOk());
  EXPECT_EQ(data, secret);
}

// An image without metadata may have a header all the same.
TEST_F(LoopBackendTest, DeleteErasesTheHeaderOfAnImageWithoutMetadata) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  const UniqueFd image = Must(OpenFile(File("v1.img"), O_RDWR));
  const std::vector<uint8_t> secret(3000, 'k');
  ASSERT_THAT(WriteFullyAt(image.get(), secret, 9 * kMiB, "image"), IsOk());
  std::filesystem::remove(File("v1.json"));
  EXPECT_THAT(backend_->Delete("v1"), IsOk());
  std::vector<uint8_t> left(secret.size());
  ASSERT_THAT(ReadFullyAt(image.get(), left, 9 * kMiB, "image"), IsOk());
  EXPECT_EQ(left, std::vector<uint8_t>(secret.size()));
  EXPECT_THAT(Files(), IsEmpty());
}

// Deleting leaves alone what belongs to an id that begins like its own.
TEST_F(LoopBackendTest, DeleteKeepsToItsOwnFiles) {
  ASSERT_THAT(backend_->Create(Spec("v.json.tmpabcdef")), IsOk());
  ASSERT_THAT(backend_->Create(Spec("v")), IsOk());
  EXPECT_THAT(backend_->Delete("v"), IsOk());
  EXPECT_THAT(Files(), ElementsAre("v.json.tmpabcdef.img", "v.json.tmpabcdef.json"));
}

// A volume appears as a device of its full size, again and again at the same place, until detached.
TEST_F(LoopBackendTest, AttachesAndDetaches) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  auto path = backend_->Attach("v1", false);
  ASSERT_THAT(path, IsOk());
  EXPECT_TRUE(Must(backend_->Get("v1")).attached);
  EXPECT_EQ(Must(OpenAgain()->Attach("v1", false)), *path);
  EXPECT_THAT(backend_->Attach("v1", true),
              Fails(absl::StatusCode::kAlreadyExists, "already, read-write"));
  {
    auto device = OpenDevice(*path);
    ASSERT_THAT(device, IsOk());
    EXPECT_EQ(device->report.size_bytes, 24 * kMiB);
    ASSERT_THAT(ProbeContents(*device), IsOk());
    EXPECT_EQ(device->report.contents, Contents::kBlank);
  }
  EXPECT_THAT(backend_->Detach("v1"), IsOk());
  EXPECT_THAT(backend_->Detach("v1"), IsOk());
  EXPECT_FALSE(Must(backend_->Get("v1")).attached);
  EXPECT_THAT(backend_->Detach("absent"), IsOk());
}

// What is written to the device is there after it was detached and attached again.
TEST_F(LoopBackendTest, KeepsData) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  auto path = backend_->Attach("v1", false);
  ASSERT_THAT(path, IsOk());
  WriteAt(*path, 24 * kMiB - 4, "tail");
  ASSERT_THAT(backend_->Detach("v1"), IsOk());
  path = backend_->Attach("v1", true);
  ASSERT_THAT(path, IsOk());
  std::array<uint8_t, 4> tail;
  auto fd = OpenFile(*path, O_RDONLY);
  ASSERT_THAT(fd, IsOk());
  ASSERT_THAT(ReadFullyAt(fd->get(), tail, 24 * kMiB - 4, *path), IsOk());
  EXPECT_THAT(tail, ElementsAre('t', 'a', 'i', 'l'));
}

// A volume that is in use is not deleted; one that is merely attached is detached and deleted.
TEST_F(LoopBackendTest, DeleteOfAnAttachedVolume) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  auto path = backend_->Attach("v1", false);
  ASSERT_THAT(path, IsOk());
  {
    TestProcess user([&] { return ::open(path->c_str(), O_RDONLY) >= 0; });
    EXPECT_THAT(backend_->Delete("v1"), Fails(kPrecondition, "has the device open"));
    EXPECT_THAT(backend_->Detach("v1"), Fails(kPrecondition, "has the device open"));
    EXPECT_TRUE(Must(backend_->Get("v1")).attached);
  }
  EXPECT_THAT(backend_->Delete("v1"), IsOk());
  EXPECT_THAT(Files(), IsEmpty());
}

// An image that vanished, or changed its size, is a loss that names both files.
TEST_F(LoopBackendTest, ChangedImageIsALoss) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  ASSERT_EQ(::truncate(File("v1.img").c_str(), 23 * kMiB), 0);
  auto attached = backend_->Attach("v1", false);
  EXPECT_THAT(attached, Fails(absl::StatusCode::kDataLoss, File("v1.img")));
  EXPECT_THAT(Message(attached.status()), HasSubstr(File("v1.json")));
  std::filesystem::remove(File("v1.img"));
  EXPECT_THAT(backend_->Attach("v1", false), Fails(absl::StatusCode::kDataLoss, "it is gone"));
}

// Metadata that cannot be read is a loss for every call that needs it: never an absent volume.
// Deleting needs none of it, and the list has the others all the same.
TEST_F(LoopBackendTest, DamagedMetadataIsALoss) {
  constexpr auto kLoss = absl::StatusCode::kDataLoss;
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  ASSERT_THAT(backend_->Create(Spec("v2")), IsOk());
  auto good = ReadSmallFile(File("v1.json"));
  ASSERT_THAT(good, IsOk());
  std::string next_version = *good;
  next_version.replace(next_version.find("\"version\": 1"), 12, "\"version\": 2");
  for (const std::string& text :
       {std::string(), std::string("{}"), good->substr(0, good->size() / 2),
        std::string(good->size(), '\0'), next_version}) {
    ASSERT_THAT(WriteFileAtomically(File("v1.json"), text), IsOk());
    EXPECT_THAT(backend_->Get("v1"), Fails(kLoss, File("v1.json")));
    EXPECT_THAT(backend_->Create(Spec("v1")), Fails(kLoss, File("v1.json")));
    EXPECT_THAT(backend_->Attach("v1", false), Fails(kLoss, File("v1.json")));
    const auto listed = Must(backend_->List());
    ASSERT_EQ(listed.size(), 2);
    EXPECT_EQ(listed[0].spec.volume_id, "v1");
    EXPECT_THAT(listed[0].damage, Fails(kLoss, File("v1.json")));
    EXPECT_THAT(listed[1].damage, IsOk());
    EXPECT_THAT(backend_->LoadFormatRecord("v1"), Fails(kLoss, File("v1.json")));
    EXPECT_THAT(backend_->StoreFormatRecord("v1", {}), Fails(kLoss, File("v1.json")));
  }
  EXPECT_THAT(backend_->Delete("v1"), IsOk());
  EXPECT_THAT(backend_->Delete("v2"), IsOk());
  EXPECT_THAT(Files(), IsEmpty());
}

// A file that was copied to another volume's name does not become that volume.
TEST_F(LoopBackendTest, CopiedMetadataIsALoss) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  std::filesystem::copy_file(File("v1.json"), File("v2.json"));
  EXPECT_THAT(backend_->Get("v2"), Fails(absl::StatusCode::kDataLoss, "it is of volume v1"));
}

// The list has every volume, by id, with its state, and nothing that is no volume.
TEST_F(LoopBackendTest, Lists) {
  for (const char* id : {"b", "a-b", "a", "B"}) ASSERT_THAT(backend_->Create(Spec(id)), IsOk());
  ASSERT_THAT(backend_->Attach("a-b", false), IsOk());
  MakeImage(File("README"), 1);
  MakeImage(File("not an id.json"), 1);
  MakeImage(File("c.json.tmpAbCdEf"), 1);
  MakeImage(File("unfinished.img"), kMiB);
  auto volumes = backend_->List();
  ASSERT_THAT(volumes, IsOk());
  std::vector<std::string> lines;
  for (const VolumeInfo& info : *volumes) {
    lines.push_back(info.spec.volume_id + (info.attached ? " attached" : ""));
  }
  EXPECT_THAT(lines, ElementsAre("B", "a", "a-b attached", "b"));
}

// The record of a new volume says that it was never formatted; what is stored is there after a
// restart, and the volume's own fields stay.
TEST_F(LoopBackendTest, KeepsTheFormatRecord) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  EXPECT_EQ(Must(backend_->LoadFormatRecord("v1")).state, FormatState::kNever);
  FormatRecord record = {.state = FormatState::kIntended,
                         .luks_uuid = "0d9ad7e4-1c1b-4a63-9f0e-3f9f0f6d3a11",
                         .filesystem = "xfs",
                         .filesystem_uuid = "7d4b9f52-8c7e-4f0a-8e0b-1c55f3a0b9de",
                         .device_bytes = 24 * kMiB};
  ASSERT_THAT(backend_->StoreFormatRecord("v1", record), IsOk());
  auto loaded = OpenAgain()->LoadFormatRecord("v1");
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->state, FormatState::kIntended);
  EXPECT_EQ(loaded->luks_uuid, record.luks_uuid);
  EXPECT_EQ(loaded->device_bytes, record.device_bytes);
  EXPECT_EQ(Must(backend_->Get("v1")).spec.parameters, Spec("v1").parameters);

  record.state = FormatState::kFormatted;
  ASSERT_THAT(backend_->StoreFormatRecord("v1", record), IsOk());
  record.state = FormatState::kIntended;
  EXPECT_THAT(backend_->StoreFormatRecord("v1", record), Fails(kPrecondition, "formatted already"));
  EXPECT_EQ(Must(backend_->LoadFormatRecord("v1")).state, FormatState::kFormatted);
  EXPECT_THAT(backend_->Create(Spec("v1")), IsOk());
  EXPECT_EQ(Must(backend_->LoadFormatRecord("v1")).state, FormatState::kFormatted);
}

// A volume that does not exist has no record, rather than one that says "never formatted".
TEST_F(LoopBackendTest, NoRecordWithoutAVolume) {
  EXPECT_THAT(backend_->LoadFormatRecord("v1"), Fails(absl::StatusCode::kNotFound, "no such"));
  EXPECT_THAT(backend_->StoreFormatRecord("v1", {}), Fails(absl::StatusCode::kNotFound, "no such"));
}

}  // namespace
}  // namespace cryptvol::block
