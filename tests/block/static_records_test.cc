#include "block/static_records.h"

#include <sys/stat.h>

#include <filesystem>

#include "base/atomic_file.h"
#include "testing.h"

namespace cryptvol::block {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// SHA-256 of "abc" is the first example of FIPS 180-4.
constexpr char kAbcFile[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.json";

FormatRecord Intended() {
  return {.state = FormatState::kIntended,
          .luks_uuid = "u",
          .filesystem = "",
          .filesystem_uuid = "",
          .device_bytes = 4096};
}

// A record is found by another object, which is a driver started again; others' records are not.
TEST(StaticRecordsTest, OutliveTheDriver) {
  ScratchDirectory scratch;
  auto records = StaticRecords::Open(scratch / "state/static");
  ASSERT_THAT(records, IsOk());
  ASSERT_THAT(records->Store("abc", Intended()), IsOk());
  EXPECT_THAT(NamesIn(scratch / "state/static"), ElementsAre(kAbcFile));

  auto again = StaticRecords::Open(scratch / "state/static");
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(Must(again->Load("abc")).state, FormatState::kIntended);
  EXPECT_EQ(Must(again->Load("abc")).device_bytes, 4096u);
  EXPECT_EQ(Must(again->Load("abd")).state, FormatState::kNever);
}

// Ids of any length and with slashes are ids.
TEST(StaticRecordsTest, TakeAnyId) {
  ScratchDirectory scratch;
  auto records = StaticRecords::Open(scratch.path());
  ASSERT_THAT(records, IsOk());
  for (const std::string& id : {std::string("../../etc/passwd"), std::string(5000, 'x'),
                                std::string("Straße"), std::string()}) {
    ASSERT_THAT(records->Store(id, Intended()), IsOk());
    EXPECT_EQ(Must(records->Load(id)).state, FormatState::kIntended);
  }
  EXPECT_THAT(records->Store("\xff", Intended()),
              Fails(absl::StatusCode::kInvalidArgument, "UTF-8"));
}

// A volume that was formatted stays one that was formatted.
TEST(StaticRecordsTest, DoNotForgetAFormat) {
  ScratchDirectory scratch;
  auto records = StaticRecords::Open(scratch.path());
  ASSERT_THAT(records, IsOk());
  FormatRecord formatted = Intended();
  formatted.state = FormatState::kFormatted;
  ASSERT_THAT(records->Store("abc", formatted), IsOk());
  EXPECT_THAT(records->Store("abc", Intended()),
              Fails(absl::StatusCode::kFailedPrecondition, "formatted already"));
  EXPECT_EQ(Must(records->Load("abc")).state, FormatState::kFormatted);
}

// A file that is damaged, or another volume's, is a loss and names the file; it is not overwritten.
TEST(StaticRecordsTest, DamagedFileIsAnError) {
  ScratchDirectory scratch;
  auto records = StaticRecords::Open(scratch.path());
  ASSERT_THAT(records, IsOk());
  ASSERT_THAT(records->Store("other", Intended()), IsOk());
  const std::string other = NamesIn(scratch.path()).front();
  std::filesystem::copy_file(scratch / other, scratch / kAbcFile);
  EXPECT_THAT(records->Load("abc"), Fails(absl::StatusCode::kDataLoss, "of volume \"other\""));

  ASSERT_THAT(WriteFileAtomically(scratch / kAbcFile, ""), IsOk());
  EXPECT_THAT(records->Load("abc"), Fails(absl::StatusCode::kDataLoss, kAbcFile));
  EXPECT_THAT(records->Store("abc", Intended()), Fails(absl::StatusCode::kDataLoss, kAbcFile));
}

// When the directory itself is gone, so are the records: nothing may pass for "never formatted".
TEST(StaticRecordsTest, MissingDirectoryIsAnError) {
  ScratchDirectory scratch;
  auto records = StaticRecords::Open(scratch / "state");
  ASSERT_THAT(records, IsOk());
  std::filesystem::remove(scratch / "state");
  EXPECT_THAT(records->Load("abc"), Fails(absl::StatusCode::kNotFound, "state"));
}

// Removing works twice, and what a crash in the middle of a write left behind is in nobody's way.
TEST(StaticRecordsTest, RemoveAndLeftovers) {
  ScratchDirectory scratch;
  auto records = StaticRecords::Open(scratch.path());
  ASSERT_THAT(records, IsOk());
  MakeImage(scratch / kAbcFile + ".tmpAbCdEf", 3);
  ASSERT_THAT(records->Store("abc", Intended()), IsOk());
  EXPECT_EQ(Must(records->Load("abc")).state, FormatState::kIntended);
  EXPECT_THAT(records->Remove("abc"), IsOk());
  EXPECT_THAT(records->Remove("abc"), IsOk());
  EXPECT_EQ(Must(records->Load("abc")).state, FormatState::kNever);
}

// Nobody but root reads the records.
TEST(StaticRecordsTest, ArePrivate) {
  ScratchDirectory scratch;
  auto records = StaticRecords::Open(scratch / "state");
  ASSERT_THAT(records, IsOk());
  ASSERT_THAT(records->Store("abc", Intended()), IsOk());
  struct stat info = {};
  ASSERT_EQ(::stat((scratch / "state").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  ASSERT_EQ(::stat((scratch / "state/" + kAbcFile).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

// Where volumes are is kept for each, replaced when it changes and not written when it does not, and
// is no record of a format.
TEST(StaticRecordsTest, RememberDevices) {
  ScratchDirectory scratch;
  auto records = StaticRecords::Open(scratch.path());
  ASSERT_THAT(records, IsOk());
  EXPECT_THAT(Must(records->ListDevices()), IsEmpty());
  ASSERT_THAT(records->StoreDevice({"b", "/dev/b", "u"}), IsOk());
  ASSERT_THAT(records->StoreDevice({"a/b", "/dev/old", "u"}), IsOk());
  ASSERT_THAT(records->StoreDevice({"a/b", "/dev/a", "v"}), IsOk());
  const auto written = std::filesystem::last_write_time(records->DevicePathOf("a/b"));
  ASSERT_THAT(records->StoreDevice({"a/b", "/dev/a", "v"}), IsOk());
  EXPECT_EQ(written, std::filesystem::last_write_time(records->DevicePathOf("a/b")));
  const auto devices = Must(records->ListDevices());
  ASSERT_EQ(2u, devices.size());
  EXPECT_EQ("a/b", devices[0].volume_id);
  EXPECT_EQ("/dev/a", devices[0].device);
  EXPECT_EQ("v", devices[0].luks_uuid);
  EXPECT_EQ("b", devices[1].volume_id);
  EXPECT_EQ(Must(records->Load("b")).state, FormatState::kNever);
}

// One that cannot be read is left out; the others are listed still.
TEST(StaticRecordsTest, ListWhatCanBeRead) {
  ScratchDirectory scratch;
  auto records = StaticRecords::Open(scratch.path());
  ASSERT_THAT(records, IsOk());
  ASSERT_THAT(records->StoreDevice({"a", "/dev/a", "u"}), IsOk());
  ASSERT_THAT(records->Store("b", Intended()), IsOk());
  ASSERT_THAT(WriteFileAtomically(records->DevicePathOf("b"), "{"), IsOk());
  const auto devices = Must(records->ListDevices());
  ASSERT_EQ(1u, devices.size());
  EXPECT_EQ("a", devices[0].volume_id);
}

}  // namespace
}  // namespace cryptvol::block
