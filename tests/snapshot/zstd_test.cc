// Compression in frames: any range can be read, stock zstd reads it, and bombs do not go off.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snapshot/cached_range.h"
#include "snapshot/range_reader.h"
#include "snapshot/zstd_frames.h"
#include "tests/age/testing.h"

namespace cryptvol::snapshot {
namespace {

using age::testing::Fails;
using age::testing::IsOk;
using age::testing::Must;
using age::testing::Noise;
using age::testing::ReadFile;
using age::testing::ScratchDirectory;
using age::testing::Shell;
using age::testing::Succeeded;
using age::testing::TextRange;
using age::testing::TextSink;
using age::testing::TextSource;
using age::testing::WriteFile;

using Code = absl::StatusCode;

std::string Compress(const std::string& content, int level = 3) {
  TextSource source(content, 70'001);
  const auto zstd = Must(ZstdSource::New(source, level));
  TextSink sink;
  EXPECT_THAT(CopyStream(*zstd, sink), IsOk());
  return sink.text;
}

absl::StatusOr<std::string> Decompress(const std::string& compressed, uint64_t most,
                                       size_t step = 33'333) {
  TextSink content;
  const auto zstd = Must(ZstdSink::New(content, most));
  TextSource source(compressed, step);
  std::vector<uint8_t> buffer(step);
  while (true) {
    CV_ASSIGN_OR_RETURN(const size_t got, source.Read(buffer));
    if (got == 0) break;
    CV_RETURN_IF_ERROR(zstd->Write(std::span(buffer).first(got)));
  }
  CV_RETURN_IF_ERROR(zstd->Finish());
  return content.text;
}

std::string Text(size_t size) {
  std::string text;
  while (text.size() < size) text += "line " + std::to_string(text.size() * 7919 % 10007) + "\n";
  return text.substr(0, size);
}

// Sizes around the frames' ends, none at all included.
TEST(Zstd, ComesBack) {
  for (const size_t size :
       {size_t{0}, size_t{1}, kFrameBytes - 1, kFrameBytes, kFrameBytes + 1, 3 * kFrameBytes + 5}) {
    const std::string content = Text(size);
    const auto back = Decompress(Compress(content), size);
    ASSERT_THAT(back, IsOk()) << size;
    EXPECT_TRUE(*back == content) << size;
  }
}

// What zstd's own program makes of it.
TEST(Zstd, IsReadByStockZstd) {
  const ScratchDirectory directory;
  for (const size_t size : {size_t{0}, 2 * kFrameBytes + 77}) {
    const std::string content = Text(size);
    WriteFile(directory / "file.zst", Compress(content, 5));
    ASSERT_THAT(Shell("zstd -q -d -f -o " + directory / "file" + " " + directory / "file.zst"),
                Succeeded());
    EXPECT_TRUE(ReadFile(directory / "file") == content) << size;
  }
}

// Ranges inside a frame, across frames, and the whole.
TEST(Zstd, IsReadAnywhere) {
  const std::string content = Text(3 * kFrameBytes + 1234);
  auto range = OpenZstdRange(std::make_shared<TextRange>(Compress(content)), content.size());
  ASSERT_THAT(range, IsOk());
  CachedRange cached(*std::move(range), kFrameBytes, 2);
  for (const auto& [offset, size] : std::vector<std::pair<size_t, size_t>>{{0, 1},
                                                                           {kFrameBytes - 3, 6},
                                                                           {5, 2 * kFrameBytes},
                                                                           {content.size() - 1, 1},
                                                                           {0, content.size()}}) {
    std::vector<uint8_t> buffer(size);
    ASSERT_THAT(cached.ReadAt(offset, buffer), IsOk());
    EXPECT_TRUE(std::equal(buffer.begin(), buffer.end(), content.begin() + offset));
  }
  std::vector<uint8_t> beyond(2);
  EXPECT_THAT(cached.ReadAt(content.size() - 1, beyond), Fails(Code::kOutOfRange, ""));
}

// A manifest that says another size than the table is not believed.
TEST(Zstd, ComparesTheTable) {
  const std::string content = Text(2 * kFrameBytes + 10);
  const std::string compressed = Compress(content);
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{2 * kFrameBytes}, uint64_t{content.size() + 1}, uint64_t{1} << 40}) {
    EXPECT_THAT(OpenZstdRange(std::make_shared<TextRange>(compressed), size),
                Fails(Code::kDataLoss, "seek table"));
  }
  EXPECT_THAT(OpenZstdRange(std::make_shared<TextRange>(compressed + "x"), content.size()),
              Fails(Code::kDataLoss, "seek table"));
}

// More content than was promised ends at once, whatever it would have become.
TEST(Zstd, StopsABomb) {
  const std::string bomb = Compress(std::string(64 * kFrameBytes, '\0'));
  ASSERT_LT(bomb.size(), 100'000u);
  EXPECT_THAT(Decompress(bomb, kFrameBytes), Fails(Code::kDataLoss, "more content"));
}

// Cut, damaged, and not zstd at all.
TEST(Zstd, RefusesTheRest) {
  const std::string content = Text(100'000);
  std::string compressed = Compress(content);
  EXPECT_THAT(Decompress(compressed.substr(0, 500), content.size()),
              Fails(Code::kDataLoss, "inside a frame"));
  compressed[400] ^= 1;
  EXPECT_THAT(Decompress(compressed, content.size()), Fails(Code::kDataLoss, "decompress"));
  EXPECT_THAT(Decompress("no zstd at all", 100), Fails(Code::kDataLoss, "decompress"));
}

// Levels that would take too much memory, and those that mean something else to zstd.
TEST(Zstd, BoundsTheLevel) {
  TextSource source("");
  for (const int level : {-1, 0, 20, 23}) {
    EXPECT_THAT(ZstdSource::New(source, level), Fails(Code::kInvalidArgument, "1 to 19"));
  }
}

// All bytes in order, whatever the pieces.
TEST(RangeReader, ReadsAhead) {
  const std::string content = Noise(100'003);
  TextRange range(content);
  for (const int reads : {1, 3}) {
    RangeReader reader(range, 7, reads, 1000);
    TextSink sink;
    ASSERT_THAT(CopyStream(reader, sink), IsOk());
    EXPECT_TRUE(sink.text == content.substr(7));
  }
  RangeReader at_end(range, content.size(), 2);
  uint8_t byte = 0;
  EXPECT_EQ(Must(at_end.Read({&byte, 1})), 0u);
}

}  // namespace
}  // namespace cryptvol::snapshot
