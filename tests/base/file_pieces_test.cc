// Pieces of a file, also while somebody cuts it.
#include "base/file_pieces.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMany = 20'000'003;  // no whole number of pages

class FilePiecesTest : public ::testing::Test {
 protected:
  FilePiecesTest() {
    std::string name = ::testing::TempDir() + "/pieces-XXXXXX";
    fd_.Reset(::mkstemp(name.data()));
    ::unlink(name.c_str());
  }

  void Fill(size_t size) {
    std::mt19937_64 random(size);
    std::vector<uint8_t> more(size);
    for (uint8_t& byte : more) byte = static_cast<uint8_t>(random());
    ASSERT_TRUE(WriteFullyAt(fd_.get(), more, content_.size(), "file").ok());
    content_.insert(content_.end(), more.begin(), more.end());
  }
  void Cut(size_t size) { ASSERT_EQ(0, ::ftruncate(fd_.get(), static_cast<off_t>(size))); }
  off_t At() const { return ::lseek(fd_.get(), 0, SEEK_CUR); }

  std::span<const uint8_t> Expected(const Piece& piece) const {
    return std::span(content_).subspan(piece.offset, piece.size);
  }
  static bool Same(std::span<const uint8_t> a, std::span<const uint8_t> b) {
    return std::ranges::equal(a, b);
  }

  UniqueFd fd_;
  std::vector<uint8_t> content_;
};

// All pieces together are the rest of the file from where the descriptor stands, which moves on with them.
TEST_F(FilePiecesTest, AreTheRestOfTheFile) {
  Fill(kMany);
  constexpr off_t kSkipped = 4097;
  ASSERT_EQ(kSkipped, ::lseek(fd_.get(), kSkipped, SEEK_SET));
  FilePieces pieces(fd_.get(), "file");
  std::vector<uint8_t> buffer(300'000);
  uint64_t next = kSkipped;
  while (true) {
    const Piece piece = *pieces.Take(buffer.size());
    ASSERT_EQ(next, piece.offset);
    next += piece.size;
    ASSERT_EQ(next, static_cast<uint64_t>(At()));
    ASSERT_TRUE(pieces.Read(piece, buffer).ok());
    EXPECT_TRUE(Same(Expected(piece), std::span(buffer).first(piece.size)));
    if (piece.last) break;
  }
  EXPECT_EQ(kMany, next);
}

// Of an empty file there is one empty piece, the last.
TEST_F(FilePiecesTest, OfNothing) {
  FilePieces pieces(fd_.get(), "file");
  const Piece piece = *pieces.Take(10);
  EXPECT_EQ(0u, piece.size);
  EXPECT_TRUE(piece.last);
  EXPECT_TRUE(pieces.Read(piece, {}).ok());
}

// What is appended before the last piece was taken belongs to the file.
TEST_F(FilePiecesTest, FollowAFileThatGrows) {
  Fill(1000);
  FilePieces pieces(fd_.get(), "file");
  EXPECT_FALSE(pieces.Take(999)->last);
  Fill(500);
  const Piece rest = *pieces.Take(10'000);
  EXPECT_EQ(501u, rest.size);
  EXPECT_TRUE(rest.last);
  std::vector<uint8_t> buffer(rest.size);
  ASSERT_TRUE(pieces.Read(rest, buffer).ok());
  EXPECT_TRUE(Same(Expected(rest), buffer));
}

// A file that was cut behind a piece's back is an error that says so.
TEST_F(FilePiecesTest, SayThatTheFileWasCut) {
  Fill(100'000);
  FilePieces pieces(fd_.get(), "backup.tar");
  const Piece piece = *pieces.Take(100'000);
  Cut(99'999);
  std::vector<uint8_t> buffer(piece.size);
  const absl::Status status = pieces.Read(piece, buffer);
  EXPECT_EQ(absl::StatusCode::kAborted, status.code());
  EXPECT_THAT(Message(status), HasSubstr("backup.tar: it became shorter"));
}

// Nor does a file that is cut between two pieces look like one that ends there.
TEST_F(FilePiecesTest, SayThatTheFileWasCutBetweenPieces) {
  for (const size_t rest :
       {10'000, 50'000, 70'000}) {  // before, at and behind where the next begins
    content_.clear();
    Fill(100'000);
    ASSERT_EQ(0, ::lseek(fd_.get(), 0, SEEK_SET));
    FilePieces pieces(fd_.get(), "backup.tar");
    ASSERT_TRUE(pieces.Take(50'000).ok());
    Cut(rest);
    const absl::Status status = pieces.Take(50'000).status();
    EXPECT_EQ(absl::StatusCode::kAborted, status.code()) << rest;
    EXPECT_THAT(Message(status), HasSubstr("backup.tar: it became shorter"));
  }
}

// Many threads read at once: all bytes are right.
TEST_F(FilePiecesTest, AreReadByManyThreads) {
  Fill(kMany);
  constexpr size_t kThreads = 8;
  FilePieces pieces(fd_.get(), "file");
  std::vector<std::jthread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::vector<uint8_t> buffer(100'000);
      for (uint64_t offset = t * buffer.size(); offset + buffer.size() <= kMany;
           offset += kThreads * buffer.size()) {
        const Piece piece{.offset = offset, .size = buffer.size()};
        EXPECT_TRUE(pieces.Read(piece, buffer).ok());
        EXPECT_TRUE(Same(Expected(piece), buffer));
      }
    });
  }
}

}  // namespace
}  // namespace cryptvol
