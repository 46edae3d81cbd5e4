#include "etcd/snapshot_file.h"

#include "base/sha256.h"
#include "gtest/gtest.h"
#include "tests/etcd/testing.h"

namespace cryptvol::etcd {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::MemorySource;

std::vector<uint8_t> WithDigest(std::vector<uint8_t> bytes) {
  Sha256Stream hash;
  hash.Update(bytes);
  const Sha256Digest digest = hash.Finish();
  bytes.insert(bytes.end(), digest.begin(), digest.end());
  return bytes;
}

// The size alone says what the file is.
TEST(SnapshotFile, TellsItsPartsFromItsSize) {
  EXPECT_EQ(ParseSnapshotSize(20480 + 32).value().database_bytes, 20480u);
  EXPECT_TRUE(ParseSnapshotSize(20480 + 32).value().has_digest);
  EXPECT_EQ(ParseSnapshotSize(20480).value().database_bytes, 20480u);
  EXPECT_FALSE(ParseSnapshotSize(20480).value().has_digest);
  for (const uint64_t size : {0, 32, 511, 20479, 20480 + 31, 20480 + 33}) {
    EXPECT_THAT(ParseSnapshotSize(size), Fails(absl::StatusCode::kDataLoss, "cut short")) << size;
  }
}

// Over more than one piece; a changed byte of either part shows.
TEST(SnapshotFile, ChecksTheDigest) {
  MemorySource source(WithDigest(std::vector<uint8_t>((size_t{1} << 20) + 512, 3)));
  EXPECT_THAT(CheckDigest(source), IsOk());
  source.bytes()[1 << 20] ^= 1;
  EXPECT_THAT(CheckDigest(source), Fails(absl::StatusCode::kDataLoss, "SHA-256 does not match"));
  source.bytes()[1 << 20] ^= 1;
  source.bytes().back() ^= 1;
  EXPECT_THAT(CheckDigest(source), Fails(absl::StatusCode::kDataLoss, "SHA-256 does not match"));
}

// A copied database has none, which is not the same as a wrong one.
TEST(SnapshotFile, SaysWhenThereIsNoDigest) {
  MemorySource source(std::vector<uint8_t>(4096));
  EXPECT_THAT(CheckDigest(source),
              Fails(absl::StatusCode::kFailedPrecondition, "ends without a SHA-256"));
}

}  // namespace
}  // namespace cryptvol::etcd
