// A directory as a target, on a real filesystem.
#include "snapshot/directory_target.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include "snapshot/bucket_target.h"
#include "snapshot/new_file.h"
#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {
namespace {

using testing::At;
using testing::Code;
using ::testing::ElementsAre;
using testing::Fails;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Must;
using testing::Noise;
using testing::ReadFile;
using testing::ScratchDirectory;
using ::testing::SizeIs;
using testing::WriteFile;

const FileName kPayload = FileName::Payload("20261122T093000Z-prod-6f1c2a3b9d4e5f60.age");
const FileName kManifest = FileName::Manifest("1F2E3D4C5B6A7988", 1);

mode_t ModeOf(const std::string& path) {
  struct ::stat status = {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

class Directory : public ::testing::Test {
 protected:
  size_t FileCount() const {
    size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(scratch_.path())) {
      count += entry.is_directory() ? 0 : 1;
    }
    return count;
  }

  // Not so on NFS: there a hidden name stands in.
  bool HasFilesWithoutName() const {
    return UniqueFd(::open(scratch_.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)).valid();
  }

  ScratchDirectory scratch_;
  std::unique_ptr<Target> target_ = testing::OpenDirectory(scratch_.path());
};

// The name in manifests is the absolute path, however it was given.
TEST_F(Directory, IsNamedByItsPath) {
  EXPECT_EQ(target_->name(), "file:" + scratch_.path());
  const auto same = Must(OpenTarget("file:" + scratch_.path() + "/x/..//", {}));
  EXPECT_EQ(same->name(), target_->name());
}

// The same for names of targets that are elsewhere by now.
TEST_F(Directory, IsNamedAsTargetsAre) {
  EXPECT_EQ(Must(TargetName("file:" + scratch_.path() + "/x/..//")), target_->name());
  EXPECT_EQ(Must(TargetName("s3://bucket/a/b/")), "s3://bucket/a/b");
  EXPECT_EQ(Must(TargetName("s3://bucket")), "s3://bucket");
  EXPECT_THAT(TargetName("/backups"), Fails(Code::kInvalidArgument, "file:"));
}

// Only a save makes a directory; what is no target is said to be none.
TEST_F(Directory, IsMadeOnlyWhenAsked) {
  EXPECT_THAT(OpenTarget("file:" + scratch_ / "new", {}), Fails(Code::kNotFound, "new"));
  EXPECT_THAT(OpenTarget("file:" + scratch_ / "new", {.create = true}), IsOk());
  EXPECT_EQ(ModeOf(scratch_ / "new"), 0700u);
  EXPECT_THAT(OpenTarget("/tmp", {}), Fails(Code::kInvalidArgument, "file:/tmp"));
  EXPECT_THAT(OpenTarget("s3://bucket//x", {}), Fails(Code::kInvalidArgument, "prefix"));
  EXPECT_THAT(OpenTarget("s3://bucket/\x1b", {}), Fails(Code::kInvalidArgument, "prefix"));
}

// Parts that S3 does not take, or too many of them for what is known to come, are refused before
// anything is sent. There is no server here.
TEST(BucketWithoutServer, RefusesPartsThatCannotBe) {
  const auto open = [](uint64_t part_bytes) {
    return OpenTarget("s3://bucket/x", {.environment = [](const std::string&) { return ""; },
                                        .part_bytes = part_bytes});
  };
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{5 << 20} - 1, uint64_t{100} << 30}) {
    EXPECT_THAT(open(bytes), Fails(Code::kInvalidArgument, "5 MiB to 5 GiB")) << bytes;
  }
  const auto target = Must(open(5 << 20));
  const uint64_t most = uint64_t{5 << 20} * 10'000;
  EXPECT_THAT(target->NewPayload(kPayload, most), IsOk());
  EXPECT_THAT(target->NewPayload(kPayload, most + 1), Fails(Code::kInvalidArgument, "10000"));
}

// Small files: created once, with mode 0600, read within a bound.
TEST_F(Directory, CreatesAndNeverReplaces) {
  ASSERT_THAT(target_->Create(kManifest, "one"), IsOk());
  EXPECT_THAT(target_->Create(kManifest, "two"), Fails(Code::kAlreadyExists, "manifest"));
  EXPECT_EQ(Must(target_->Read(kManifest, 3)), "one");
  EXPECT_THAT(target_->Read(kManifest, 2), Fails(Code::kResourceExhausted, "3 bytes"));
  EXPECT_EQ(ModeOf(scratch_ / kManifest.path()), 0600u);
  EXPECT_THAT(target_->Remove(kManifest), IsOk());
  EXPECT_THAT(target_->Remove(kManifest), IsOk());
  EXPECT_THAT(target_->Read(kManifest, 3), Fails(Code::kNotFound, ""));
  EXPECT_THAT(target_->Remove(FileName::Manifest("0000000000000000", 1)), IsOk());
}

// A payload has no name before Finish, or one that counts for nothing, and leaves nothing after Abort or when it is dropped.
TEST_F(Directory, NamesPayloadsAtTheEnd) {
  {
    const auto writer = Must(target_->NewPayload(kPayload, {}));
    ASSERT_THAT(writer->Write(AsBytes("dropped")), IsOk());
  }
  auto writer = Must(target_->NewPayload(kPayload, {}));
  ASSERT_THAT(writer->Write(AsBytes("content")), IsOk());
  EXPECT_THAT(Must(target_->List()).files, IsEmpty());
  EXPECT_EQ(FileCount(), HasFilesWithoutName() ? 0u : 1u);
  ASSERT_THAT(writer->Finish(), IsOk());
  EXPECT_EQ(FileCount(), 1u);
  EXPECT_EQ(ReadFile(scratch_ / kPayload.path()), "content");
  EXPECT_EQ(ModeOf(scratch_ / kPayload.path()), 0600u);
  writer = Must(target_->NewPayload(kPayload, {}));
  ASSERT_THAT(writer->Write(AsBytes("another")), IsOk());
  EXPECT_THAT(writer->Finish(), Fails(Code::kAlreadyExists, kPayload.path()));
  EXPECT_EQ(ReadFile(scratch_ / kPayload.path()), "content");
  EXPECT_EQ(FileCount(), 1u);
}

// Ours are listed with their sizes; the rest is counted and shown so that it moves no cursor.
TEST_F(Directory, ListsItsOwn) {
  ASSERT_THAT(target_->Create(kManifest, "12345"), IsOk());
  WriteFile(scratch_ / "esc\x1b[2J", "");
  WriteFile(scratch_ / ".hidden", "");
  std::filesystem::create_directory(scratch_ / "chain/not-a-key");
  WriteFile(scratch_ / "chain/not-a-key/00000000000000000001.manifest", "");
  std::filesystem::create_symlink("/etc/passwd", scratch_ / kPayload.path());
  const Listing listing = Must(target_->List());
  ASSERT_THAT(listing.files, SizeIs(1));
  EXPECT_EQ(listing.files[0].name, kManifest);
  EXPECT_EQ(listing.files[0].size, 5u);
  EXPECT_EQ(listing.foreign_count, 3u);
  for (const std::string& name : listing.foreign) EXPECT_EQ(name.find('\x1b'), std::string::npos);
}

// A link or a pipe in the place of a file of ours is neither followed nor waited for.
TEST_F(Directory, FollowsNoLinks) {
  std::filesystem::create_symlink("/etc/passwd", scratch_ / kPayload.path());
  EXPECT_FALSE(target_->OpenPayload(kPayload).ok());
  std::filesystem::create_directory(scratch_ / "elsewhere");
  std::filesystem::create_directory_symlink(scratch_ / "elsewhere", scratch_ / "chain");
  EXPECT_FALSE(target_->Create(kManifest, "x").ok());
  std::filesystem::remove(scratch_ / kPayload.path());
  ASSERT_EQ(::mkfifo((scratch_ / kPayload.path()).c_str(), 0600), 0);
  EXPECT_THAT(target_->OpenPayload(kPayload), Fails(Code::kFailedPrecondition, "not a file"));
}

// A new header, shorter or longer, before the same rest.
TEST_F(Directory, ReplacesHeaders) {
  const std::string rest = Noise(300'000);
  WriteFile(scratch_ / kPayload.path(), std::string(16384, 'a') + rest);
  for (const size_t size : {size_t{32768}, size_t{16384}}) {
    const auto current = Must(target_->OpenPayload(kPayload));
    const NewHeader header{.bytes = std::string(size, 'b'),
                           .old_bytes = current->size() - rest.size()};
    ASSERT_THAT(target_->ReplaceHeader(kPayload, header, *current), IsOk());
    EXPECT_TRUE(ReadFile(scratch_ / kPayload.path()) == header.bytes + rest);
    EXPECT_EQ(ModeOf(scratch_ / kPayload.path()), 0600u);
  }
  EXPECT_EQ(FileCount(), 1u);
}

// Of two that replace at once, the second is told.
TEST_F(Directory, ReplacesOnlyWhatWasRead) {
  WriteFile(scratch_ / kPayload.path(), "aaaarest");
  auto one = Must(target_->OpenPayload(kPayload));
  const auto two = Must(target_->OpenPayload(kPayload));
  ASSERT_THAT(target_->ReplaceHeader(kPayload, {.bytes = "bbbb", .old_bytes = 4}, *one), IsOk());
  one.reset();
  EXPECT_THAT(target_->ReplaceHeader(kPayload, {.bytes = "cccc", .old_bytes = 4}, *two),
              Fails(Code::kFailedPrecondition, "replaced since"));
  EXPECT_EQ(ReadFile(scratch_ / kPayload.path()), "bbbbrest");
}

// Nor is one replaced while another process holds its lock, as it does until the file is replaced. (NFS gives that lock
// only of what is open for writing: vm_BackupsOnNfs runs all of this there.)
TEST_F(Directory, ReplacesNoHeaderThatAnotherHolds) {
  const std::string path = scratch_ / kPayload.path();
  WriteFile(path, "aaaarest");
  const auto current = Must(target_->OpenPayload(kPayload));
  {
    const UniqueFd other(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
    EXPECT_THAT(target_->ReplaceHeader(kPayload, {.bytes = "bbbb", .old_bytes = 4}, *current),
                Fails(Code::kFailedPrecondition, "another process"));
    EXPECT_EQ(ReadFile(path), "aaaarest");
  }
  EXPECT_THAT(target_->ReplaceHeader(kPayload, {.bytes = "bbbb", .old_bytes = 4}, *current),
              IsOk());
  EXPECT_EQ(ReadFile(path), "bbbbrest");
}

// Hidden files that a crash left go when they are old enough.
TEST_F(Directory, RemovesWhatCrashesLeft) {
  const std::string path = scratch_ / (std::string(kHiddenPrefix) + "0011223344556677");
  WriteFile(path, "half a payload");
  const ::utimbuf old = {.actime = 1'000'000, .modtime = 1'000'000};
  ASSERT_EQ(::utime(path.c_str(), &old), 0);
  WriteFile(scratch_ / (std::string(kHiddenPrefix) + "8899aabbccddeeff"), "of a save in progress");
  const Timestamp before = SystemTime() - std::chrono::hours(24);
  EXPECT_THAT(Must(target_->AbortAbandoned(before, /*dry_run=*/true)), SizeIs(1));
  EXPECT_EQ(FileCount(), 2u);
  EXPECT_THAT(Must(target_->AbortAbandoned(before, /*dry_run=*/false)), SizeIs(1));
  EXPECT_EQ(FileCount(), 1u);
}

// The forms that servers use for the time of a file, and what is none: that is not taken for old.
TEST(StoreTimeTest, KnowsWhatIsNoTime) {
  const Timestamp unknown = testing::At("2030-01-01T00:00:00Z");
  for (const char* text : {"2026-11-22T09:30:00.123Z", "2026-11-22T09:30:00Z",
                           "2026-11-22T09:30:00+00:00", "2026-11-22T09:30:00.123+00:00"}) {
    EXPECT_EQ(StoreTime(text, unknown), testing::At("2026-11-22T09:30:00Z")) << text;
  }
  for (const char* text : {"", "Z", "yesterday", "2026-11-22", "2026-11-22T09:30:00",
                           "2026-11-22T09:30:00+01:00", "Sun, 22 Nov 2026 09:30:00 GMT"}) {
    EXPECT_EQ(StoreTime(text, unknown), unknown) << text;
  }
}

// What a server refuses, for whatever reason, is neither a wrong key of the backup, nor wrong usage,
// nor tampering; what it does not have is told as that.
TEST(TargetStatusTest, KeepsAServersRefusalsApart) {
  EXPECT_THAT(TargetStatus(absl::UnauthenticatedError("x")), Fails(Code::kPermissionDenied, "x"));
  EXPECT_THAT(TargetStatus(absl::InvalidArgumentError("x")), Fails(Code::kUnavailable, "x"));
  EXPECT_THAT(TargetStatus(absl::FailedPreconditionError("x")), Fails(Code::kUnavailable, "x"));
  EXPECT_THAT(TargetStatus(absl::DataLossError("x")), Fails(Code::kUnavailable, "x"));
  EXPECT_THAT(TargetStatus(absl::NotFoundError("x")), Fails(Code::kNotFound, "x"));
  EXPECT_THAT(TargetStatus(absl::OkStatus()), IsOk());
}

}  // namespace
}  // namespace cryptvol::snapshot
