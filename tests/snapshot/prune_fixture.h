// Chains of one writer or several in memory, and prunes of them.
#ifndef CRYPTVOL_TESTS_SNAPSHOT_PRUNE_FIXTURE_H_
#define CRYPTVOL_TESTS_SNAPSHOT_PRUNE_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "minisign/signature.h"
#include "snapshot/litter.h"
#include "snapshot/prune.h"
#include "tests/snapshot/memory_target.h"
#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {

using testing::AlarmKinds;
using testing::At;
using testing::Code;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::Fails;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Keys;
using testing::ManifestPath;
using testing::MemoryTarget;
using testing::Must;
using testing::OptionsAt;
using testing::Read;
using testing::SaveText;
using testing::SignaturePath;
using ::testing::SizeIs;
using Fault = MemoryTarget::Fault;

class PruneTest : public ::testing::Test {
 protected:
  // Six backups, a day apart, in a store that agrees with their times.
  PruneTest() {
    target_.now = At("2026-11-20T10:00:00Z");
    for (int day = 1; day <= 6; ++day) Save(day);
    target_.now = At("2026-11-26T12:00:00Z");
  }
  SaveResult Save(int day, const std::string& cluster = "prod") {
    SaveOptions options = OptionsAt(keys_, fmt::format("2026-11-{:02}T10:00:00Z", 20 + day));
    options.cluster = cluster;
    SaveResult saved = Must(SaveText(target_, "text", options));
    target_.times[saved.manifest.backup()->object] = saved.manifest.time;
    target_.times[ManifestPath(keys_, saved.manifest.sequence)] = saved.manifest.time;
    return saved;
  }
  PruneOptions Options(uint64_t last) {
    return {.policy = {.last = last}, .signing_key = &keys_.signing, .clock = [this] {
              return target_.now;
            }};
  }
  std::vector<uint64_t> Good() {
    catalog_ = Read(target_, keys_);
    std::vector<uint64_t> sequences;
    for (const Entry* entry : SelectBackups(catalog_, {})) sequences.push_back(entry->sequence);
    return sequences;
  }
  size_t PayloadCount() {
    size_t count = 0;
    for (const auto& [path, content] : target_.files) count += path.ends_with(".age") ? 1 : 0;
    return count;
  }

  void Sign(const Manifest& manifest) {
    const uint64_t sequence = manifest.sequence;
    const std::string text = Must(SerializeManifest(manifest));
    const auto digest = Must(minisign::Blake2b512(AsBytes(text)));
    const auto signature = Must(minisign::Sign(keys_.signing, digest, {.trusted = "cryptsnap"}));
    target_.files[ManifestPath(keys_, sequence)] = text;
    target_.files[SignaturePath(keys_, sequence)] = minisign::SerializeSignature(signature);
  }

  // A backup that nobody can open, as fast as it can be signed.
  void SignBackup(uint64_t sequence, const std::string& cluster) {
    const std::string time = "20261122T100000Z";
    const std::string object = fmt::format("{}-{}-{:016x}.age", time, cluster, sequence);
    Manifest manifest;
    manifest.target = target_.name();
    manifest.cluster = cluster;
    manifest.writer = keys_.writer();
    manifest.sequence = sequence;
    if (sequence > 1) {
      const std::string& before = target_.files[ManifestPath(keys_, sequence - 1)];
      manifest.previous = {
          .sequence = sequence - 1, .manifest_sha256 = Sha256Text(before), .was_signed = true};
    }
    manifest.time = At("2026-11-22T10:00:00Z");
    manifest.record =
        BackupRecord{.object = object, .started = manifest.time, .payload_sha256 = Sha256Text("")};
    Sign(manifest);
    target_.files[object] = std::string(16384 + 16, 'x');
  }

  const Keys keys_;
  MemoryTarget target_;
  Catalog catalog_;
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_TESTS_SNAPSHOT_PRUNE_FIXTURE_H_
