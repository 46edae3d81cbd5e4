// Headers that the stock cryptsetup writes, on regular files.
#include <fcntl.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "luks/header.h"
#include "luks/token.h"
#include "tests/luks/header_builder.h"
#include "tests/luks/header_matchers.h"

namespace cryptvol::luks {
namespace {

using ::testing::ElementsAre;
using testing::Fails;
using ::testing::Field;
using ::testing::HasSubstr;
using testing::IsOk;

constexpr uint64_t kImageBytes = uint64_t{40} << 20;

class RealHeader : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/luks-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    key_ = directory_ + "/key";
    image_ = directory_ + "/image";
    std::ofstream(key_) << "a passphrase";
    std::ofstream(image_).close();
    std::filesystem::resize_file(image_, kImageBytes);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Cryptsetup(std::vector<std::string> args) {
    args.insert(args.begin(), "--batch-mode");
    const absl::StatusOr<CommandResult> result = RunCommand(
        {.program = "cryptsetup", .args = args}, Deadline::After(std::chrono::minutes(2)));
    EXPECT_THAT(result, IsOk());
    if (!result.ok()) return "";
    EXPECT_TRUE(result->ok()) << result->Complaint();
    return result->out;
  }

  // With the cheapest PBKDF2, unless `args` say otherwise.
  void Format(const std::vector<std::string>& args, bool cheap = true) {
    std::vector<std::string> all = {"luksFormat", "--key-file", key_};
    if (cheap) all.insert(all.end(), {"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"});
    all.insert(all.end(), args.begin(), args.end());
    all.push_back(image_);
    Cryptsetup(all);
  }

  std::vector<uint8_t> Start() {
    std::vector<uint8_t> start(kHeaderReadBytes);
    const absl::StatusOr<UniqueFd> fd = OpenFile(image_, O_RDONLY);
    EXPECT_THAT(fd, IsOk());
    if (!fd.ok()) return {};
    EXPECT_THAT(ReadFullyAt(fd->get(), start, 0, image_), IsOk());
    return start;
  }

  void Write(const std::vector<uint8_t>& bytes) {
    const absl::StatusOr<UniqueFd> fd = OpenFile(image_, O_WRONLY);
    ASSERT_THAT(fd, IsOk());
    ASSERT_THAT(WriteFullyAt(fd->get(), bytes, 0, image_), IsOk());
  }

  absl::StatusOr<Header> Parse() { return ParseHeader(Start(), kImageBytes); }

  std::string directory_;
  std::string key_;
  std::string image_;
};

// The default LUKS2 format of today.
TEST_F(RealHeader, Luks2) {
  Format({"--type", "luks2", "--label", "data"});
  const absl::StatusOr<Header> header = Parse();
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->version, 2);
  EXPECT_EQ(header->uuid + "\n", Cryptsetup({"luksUUID", image_}));
  EXPECT_EQ(header->label, "data");
  EXPECT_EQ(header->primary, CopyState::kGood);
  EXPECT_EQ(header->secondary, CopyState::kGood);
  EXPECT_EQ(header->cipher, "aes-xts-plain64");
  EXPECT_EQ(header->data_offset, uint64_t{16} << 20);
  ASSERT_EQ(header->keyslots.size(), 1u);
  EXPECT_EQ(header->keyslots[0].kdf, "pbkdf2");
  EXPECT_EQ(header->keyslots[0].key_bytes, 64u);
}

// What Longhorn's cryptsetup command writes.
TEST_F(RealHeader, Luks2OfLonghorn) {
  Format({"--type", "luks2", "--cipher", "aes-xts-plain64", "--hash", "sha256", "--key-size", "256",
          "--pbkdf", "argon2i", "--pbkdf-memory", "1024", "--pbkdf-parallel", "1",
          "--pbkdf-force-iterations", "5"},
         /*cheap=*/false);
  const absl::StatusOr<Header> header = Parse();
  ASSERT_THAT(header, IsOk());
  ASSERT_EQ(header->keyslots.size(), 1u);
  const Keyslot& slot = header->keyslots[0];
  EXPECT_EQ(slot.kdf, "argon2i");
  EXPECT_EQ(slot.kdf_memory_kib, 1024u);
  EXPECT_EQ(slot.kdf_iterations, 5u);
  EXPECT_EQ(slot.kdf_lanes, 1u);
  EXPECT_EQ(slot.key_bytes, 32u);
  EXPECT_EQ(KdfMemoryBytes(*header), uint64_t{1} << 20);
}

// Sectors, metadata, hash and cipher other than by default.
TEST_F(RealHeader, Luks2OfOtherShape) {
  Format({"--type", "luks2", "--sector-size", "512", "--luks2-metadata-size", "64k", "--hash",
          "sha3-256", "--cipher", "aes-cbc-essiv:sha256", "--key-size", "128"});
  const absl::StatusOr<Header> header = Parse();
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->sector_bytes, 512u);
  EXPECT_EQ(header->metadata_bytes, 65536u);
  EXPECT_EQ(header->cipher, "aes-cbc-essiv:sha256");
  ASSERT_EQ(header->keyslots.size(), 1u);
  EXPECT_EQ(header->keyslots[0].key_bytes, 16u);
}

// Keyslots of every kind that cryptsetup makes: another key, one to be ignored, one for another
// use.
TEST_F(RealHeader, Luks2WithManyKeyslots) {
  const std::vector<std::string> cheap = {"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"};
  const auto add = [&](std::vector<std::string> args) {
    args.insert(args.begin(), {"luksAddKey", "--key-file", key_});
    args.insert(args.end(), cheap.begin(), cheap.end());
    args.insert(args.end(), {image_, key_});
    Cryptsetup(args);
  };
  Format({"--type", "luks2"});
  add({"--key-slot", "31"});
  add({"--key-slot", "4"});
  add({"--key-slot", "7", "--unbound", "--key-size", "256"});
  Cryptsetup({"config", "--key-slot", "4", "--priority", "ignore", image_});
  const absl::StatusOr<Header> header = Parse();
  ASSERT_THAT(header, IsOk());
  EXPECT_THAT(header->keyslots,
              ElementsAre(Field(&Keyslot::id, 0), Field(&Keyslot::id, 4), Field(&Keyslot::id, 31)));
  EXPECT_FALSE(header->keyslots[0].ignored);
  EXPECT_TRUE(header->keyslots[1].ignored);
}

// A header whose last key was removed is whole: the wrong-key answer is not ours to give.
TEST_F(RealHeader, Luks2WithoutKeyslot) {
  Format({"--type", "luks2"});
  Cryptsetup({"luksErase", image_});
  const absl::StatusOr<Header> header = Parse();
  ASSERT_THAT(header, IsOk());
  EXPECT_TRUE(header->keyslots.empty());
}

// Our token goes through cryptsetup unchanged, and is found.
TEST_F(RealHeader, CarriesOurToken) {
  Format({"--type", "luks2"});
  const std::string file = directory_ + "/token";
  std::ofstream(file) << SerializeToken({.volume_id = "pvc-1", .state = VolumeState::kReady});
  Cryptsetup({"token", "import", "--token-id", "5", "--json-file", file, image_});
  const absl::StatusOr<Header> header = Parse();
  ASSERT_THAT(header, IsOk());
  const absl::StatusOr<std::optional<FoundToken>> found = FindToken(*header);
  ASSERT_THAT(found, IsOk());
  const FoundToken ours = found->value_or(FoundToken{});
  EXPECT_EQ(ours.id, 5);
  EXPECT_EQ(ours.token.volume_id, "pvc-1");
  EXPECT_EQ(ours.token.state, VolumeState::kReady);
}

// A volume in the middle of a reencryption is refused, and the message says how to finish it.
TEST_F(RealHeader, Luks2InReencryption) {
  Format({"--type", "luks2"});
  Cryptsetup({"reencrypt", "--init-only", "--key-file", key_, "--pbkdf", "pbkdf2",
              "--pbkdf-force-iterations", "1000", image_});
  const absl::StatusOr<Header> header = Parse();
  EXPECT_THAT(header, Fails(absl::StatusCode::kFailedPrecondition, "\"online-reencrypt-v2\""));
  EXPECT_THAT(header, Fails(absl::StatusCode::kFailedPrecondition, "--resume-only"));
  EXPECT_THAT(header, Fails(absl::StatusCode::kFailedPrecondition, "it has 3 segments"));
  EXPECT_THAT(header, Fails(absl::StatusCode::kFailedPrecondition, "of type \"reencrypt\""));
}

// After the reencryption it is an ordinary volume again.
TEST_F(RealHeader, Luks2AfterReencryption) {
  Format({"--type", "luks2"});
  Cryptsetup({"reencrypt", "--key-file", key_, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations",
              "1000", "--force-offline-reencrypt", image_});
  EXPECT_THAT(Parse(), IsOk());
}

// A header on a device that was cut short, or that belongs to a larger one.
TEST_F(RealHeader, Luks2OnASmallerDevice) {
  Format({"--type", "luks2"});
  EXPECT_THAT(ParseHeader(Start(), (uint64_t{16} << 20) + 4096), IsOk());
  EXPECT_THAT(ParseHeader(Start(), uint64_t{16} << 20),
              Fails(absl::StatusCode::kFailedPrecondition, "does not fit the device, which has"));
}

// LUKS1, as other drivers still write it.
TEST_F(RealHeader, Luks1) {
  Format({"--type", "luks1", "--hash", "sha1", "--key-size", "256"});
  const absl::StatusOr<Header> header = Parse();
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->version, 1);
  EXPECT_EQ(header->uuid + "\n", Cryptsetup({"luksUUID", image_}));
  EXPECT_EQ(header->cipher, "aes-xts-plain64");
  EXPECT_THAT(Cryptsetup({"luksDump", image_}),
              HasSubstr(fmt::format("Payload offset:\t{}\n", header->data_offset / 512)));
  ASSERT_EQ(header->keyslots.size(), 1u);
  EXPECT_EQ(header->keyslots[0].kdf_iterations, 1000u);
  EXPECT_EQ(header->keyslots[0].key_bytes, 32u);
}

// A converted header keeps LUKS1's offsets and hashes in LUKS2's form.
TEST_F(RealHeader, Luks1ConvertedToLuks2) {
  Format({"--type", "luks1", "--hash", "sha1"});
  Cryptsetup({"convert", "--type", "luks2", image_});
  const absl::StatusOr<Header> header = Parse();
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->version, 2);
  EXPECT_EQ(header->data_offset, 2097152u);
  EXPECT_EQ(header->keyslots.size(), 1u);
}

// The headers that other tests build and change are headers to cryptsetup too, so that a refusal is
// ours and not a mistake of the builder.
TEST_F(RealHeader, BuiltHeadersAreReal) {
  Write(testing::BuildHeader(testing::GoodMetadata().dump(), {.label = "built"}));
  EXPECT_THAT(Cryptsetup({"luksDump", image_}), HasSubstr("Label:         \tbuilt\n"));
  Write(testing::BuildLuks1Header());
  EXPECT_THAT(Cryptsetup({"luksDump", image_}), HasSubstr("Version:       \t1\n"));
}

// The one property on which everything rests: of two copies, ours is cryptsetup's choice.
TEST_F(RealHeader, TakesTheCopyThatCryptsetupTakes) {
  const std::string json = testing::GoodMetadata().dump();
  for (const uint64_t secondary : {2u, 4u}) {
    Write(testing::Concatenate(
        testing::BuildCopy(json, false, {.sequence = 3, .label = "primary"}),
        testing::BuildCopy(json, true, {.sequence = secondary, .label = "secondary"})));
    const absl::StatusOr<Header> header = Parse();
    ASSERT_THAT(header, IsOk());
    EXPECT_EQ(header->label, secondary == 4 ? "secondary" : "primary");
    EXPECT_THAT(Cryptsetup({"luksDump", image_}),
                HasSubstr(fmt::format("Label:         \t{}\n", header->label)));
  }
}

// A first sector that was overwritten: both find the secondary copy.
TEST_F(RealHeader, FindsTheSecondaryCopyOfALostPrimary) {
  Format({"--type", "luks2", "--luks2-metadata-size", "32k"});
  const absl::StatusOr<Header> before = Parse();
  ASSERT_THAT(before, IsOk());
  Write(std::vector<uint8_t>(4096));
  const absl::StatusOr<Header> header = Parse();
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->uuid, before->uuid);
  EXPECT_EQ(header->primary, CopyState::kAbsent);
  EXPECT_EQ(header->secondary, CopyState::kGood);
}

}  // namespace
}  // namespace cryptvol::luks
