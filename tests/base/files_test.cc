#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/atomic_file.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/status.h"
#include "base/stream.h"
#include "base/undo.h"
#include "base/unique_fd.h"

namespace cryptvol {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class FilesTest : public ::testing::Test {
 protected:
  FilesTest() {
    std::string pattern = (fs::temp_directory_path() / "cryptvol-files-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~FilesTest() override { fs::remove_all(directory_); }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  size_t FileCount() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(directory_), {}));
  }

  std::string directory_;
};

// A replaced file has the new content, mode 0600, and no temporary file beside it.
TEST_F(FilesTest, ReplacesAtomically) {
  ASSERT_TRUE(WriteFileAtomically(path("a"), "one").ok());
  ASSERT_TRUE(WriteFileAtomically(path("a"), "two").ok());
  EXPECT_EQ("two", *ReadSmallFile(path("a")));
  struct stat status;
  ASSERT_EQ(0, ::stat(path("a").c_str(), &status));
  EXPECT_EQ(0600u, status.st_mode & 0777);
  EXPECT_EQ(1u, FileCount());
}

// What comes in pieces is written as one; when it ends in an error, the old file stays, and nothing
// beside it.
TEST_F(FilesTest, ReplacesByPieces) {
  const auto write = [](ByteSink& sink) {
    CV_RETURN_IF_ERROR(sink.Write(AsBytes("one, ")));
    return sink.Write(AsBytes("two"));
  };
  ASSERT_EQ(absl::OkStatus(), WriteFileAtomically(path("a"), write));
  EXPECT_EQ("one, two", *ReadSmallFile(path("a")));
  const absl::Status broken = WriteFileAtomically(path("a"), [](ByteSink& sink) {
    CV_RETURN_IF_ERROR(sink.Write(AsBytes("three")));
    return absl::DataLossError("no more");
  });
  EXPECT_EQ(absl::StatusCode::kDataLoss, broken.code());
  EXPECT_EQ("one, two", *ReadSmallFile(path("a")));
  EXPECT_EQ(1u, FileCount());
}

// Creating what exists changes nothing.
TEST_F(FilesTest, CreatesExclusively) {
  ASSERT_TRUE(CreateFileExclusively(path("a"), "one").ok());
  EXPECT_EQ(absl::StatusCode::kAlreadyExists, CreateFileExclusively(path("a"), "two").code());
  EXPECT_EQ("one", *ReadSmallFile(path("a")));
  EXPECT_EQ(1u, FileCount());
}

// What cannot be written says which file, and leaves no remains.
TEST_F(FilesTest, NamesThePathThatFailed) {
  const absl::Status status = WriteFileAtomically(path("absent/a"), "x");
  EXPECT_EQ(absl::StatusCode::kNotFound, status.code());
  EXPECT_THAT(Message(status), HasSubstr("absent/a"));
  EXPECT_EQ(0u, FileCount());
}

// Removing is done when there is nothing.
TEST_F(FilesTest, RemovesWhatMayBeGone) {
  ASSERT_TRUE(WriteFileAtomically(path("a"), "one").ok());
  EXPECT_TRUE(RemoveFileDurably(path("a")).ok());
  EXPECT_TRUE(RemoveFileDurably(path("a")).ok());
}

// Reading past the end is an error and never zeros.
TEST_F(FilesTest, ReadsExactlyOrFails) {
  ASSERT_TRUE(WriteFileAtomically(path("a"), "12345").ok());
  UniqueFd fd = *OpenFile(path("a"), O_RDONLY);
  std::array<uint8_t, 4> bytes;
  EXPECT_TRUE(ReadFullyAt(fd.get(), bytes, 1, "a").ok());
  EXPECT_EQ('5', bytes[3]);
  EXPECT_EQ(absl::StatusCode::kOutOfRange, ReadFullyAt(fd.get(), bytes, 2, "a").code());
}

// A bound on small files holds.
TEST_F(FilesTest, BoundsSmallFiles) {
  ASSERT_TRUE(WriteFileAtomically(path("a"), std::string(5000, 'x')).ok());
  EXPECT_EQ(absl::StatusCode::kOutOfRange, ReadSmallFile(path("a"), 4999).status().code());
  EXPECT_EQ(5000u, ReadSmallFile(path("a"), 5000)->size());
}

// An errno becomes its name, its text and absl's code.
TEST(Status, DescribesErrno) {
  const absl::Status status = ErrnoStatus(ENOENT, "open /x");
  EXPECT_EQ(absl::StatusCode::kNotFound, status.code());
  EXPECT_EQ("open /x: No such file or directory (ENOENT)", Message(status));
  EXPECT_EQ("errno 4242", ErrnoName(4242));
}

// Annotating keeps the code, and success.
TEST(Status, Annotates) {
  EXPECT_EQ("volume a: gone", Message(Annotate(absl::NotFoundError("gone"), "volume a")));
  EXPECT_TRUE(Annotate(absl::OkStatus(), "volume a").ok());
}

// Undos run backwards, and not after success.
TEST(UndoStack, RunsBackwardsUnlessCancelled) {
  std::string ran;
  {
    UndoStack undo;
    undo.Add([&] { ran += 'a'; });
    undo.Add([&] { ran += 'b'; });
  }
  EXPECT_EQ("ba", ran);
  {
    UndoStack undo;
    undo.Add([&] { ran += 'c'; });
    undo.Cancel();
  }
  EXPECT_EQ("ba", ran);
}

// Foreign text cannot begin a line or a field of its own, nor send an escape sequence to a
// terminal.
TEST(Log, EscapesValues) {
  EXPECT_EQ(R"(rpc volume="a\" code=\"OK\u001b\n")",
            FormatLogLine(LogFormat::kText, "rpc", {{"volume", "a\" code=\"OK\x1b\n"}}));
  EXPECT_EQ(R"("event":"rpc","volume":"a\"b")",
            FormatLogLine(LogFormat::kJson, "rpc", {{"volume", "a\"b"}}));
  EXPECT_THAT(FormatLogLine(LogFormat::kJson, "rpc", {{"volume", "\xff"}}), HasSubstr("\\ufffd"));
}

}  // namespace
}  // namespace cryptvol
