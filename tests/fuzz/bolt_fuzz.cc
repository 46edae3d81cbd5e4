// Whatever the bytes of a database, reading it ends, stays inside them, and reads none of them again
// and again.
//
// The first byte of the input chooses what the rest is, since no fuzzer guesses a checksum:
//   's'  a database of 4 KiB pages, whose meta pages' checksums are made right
//   else a database as it is
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "etcd/database.h"
#include "etcd/snapshot_file.h"
#include "tests/etcd/bolt_builder.h"
#include "tests/etcd/memory_source.h"

namespace cryptvol::etcd {
namespace {

// Not assert(): the fuzz preset is a release build.
void Require(bool holds) {
  if (!holds) std::abort();
}

std::vector<uint8_t> Database(std::span<const uint8_t> input) {
  if (input.empty()) return {};
  std::vector<uint8_t> bytes(input.begin() + 1, input.end());
  if (input[0] != 's') return bytes;
  for (const size_t page : {size_t{0}, testing::kPageBytes}) {
    if (bytes.size() >= page + kPageHeaderBytes + kMetaBytes) testing::SealMeta(bytes, page);
  }
  return bytes;
}

void CheckContents(const DatabaseContents& contents, uint64_t bytes) {
  Require(contents.tree.used_pages * kMinPageBytes <= bytes);
  Require(contents.tree.keys * 16 <= bytes);
  Require(contents.tombstones <= contents.revisions);
  Require(contents.revisions <= contents.tree.keys);
  Require(contents.live_keys.value_or(0) <= contents.revisions - contents.tombstones);
  Require(contents.summary.revision >= 1);
  Require(contents.summary.members.size() <= kMaxMembers);
}

void FuzzOne(std::span<const uint8_t> input) {
  testing::MemorySource source(Database(input));
  const uint64_t size = source.size();
  // Beside each page once: the metas, and the first pages of those that are refused.
  const uint64_t most = 2 * size + 1024 * 1024;
  const absl::StatusOr<DatabaseContents> contents = CheckDatabase(source, size);
  Require(source.read_bytes() <= most);
  const absl::StatusOr<DatabaseSummary> summary = ReadSummary(source, size);
  Require(source.read_bytes() <= 3 * most);
  if (!contents.ok()) {
    Require(!contents.status().message().empty() && contents.status().message().size() < 1024);
    return;
  }
  CheckContents(*contents, size);
  // What the whole check accepts, the quick look reads, and alike.
  Require(summary.ok());
  Require(summary->revision == contents->summary.revision);
  Require(summary->members.size() == contents->summary.members.size());
}

}  // namespace
}  // namespace cryptvol::etcd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cryptvol::etcd::FuzzOne({data, size});
  return 0;
}
