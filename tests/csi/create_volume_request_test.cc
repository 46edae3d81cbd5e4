// What CreateVolume takes from its request, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csi/capacity_range.h"
#include "filesystem/tools.h"
#include "request_fixture.h"

namespace cryptvol::driver {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// A plain request becomes a plain volume of exactly the size that was asked.
TEST(ParseCreateVolumeTest, ReadsAPlainVolume) {
  const auto created = Parse(CreateRequest());
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->name, "pvc-1");
  EXPECT_EQ(created->capacity_bytes, uint64_t{10} << 30);
  EXPECT_FALSE(created->options.encrypted);
  EXPECT_FALSE(created->secret.has_value());
  ASSERT_THAT(created->accesses, SizeIs(1));
  EXPECT_FALSE(created->accesses[0].block);
  EXPECT_EQ(created->accesses[0].filesystem, "ext4");
  EXPECT_EQ(created->accesses[0].mode, volume::AccessMode::kSingleNodeWriter);
}

// Every field of a capability reaches the access, and each of the single-node modes its own.
TEST(ParseCreateVolumeTest, ReadsCapabilities) {
  auto request = CreateRequest();
  request.clear_volume_capabilities();
  for (const auto mode : {Mode::SINGLE_NODE_READER_ONLY, Mode::SINGLE_NODE_SINGLE_WRITER,
                          Mode::SINGLE_NODE_MULTI_WRITER}) {
    *request.add_volume_capabilities() = Mounted("xfs", mode);
  }
  request.mutable_volume_capabilities(0)->mutable_mount()->add_mount_flags("noatime");
  const auto created = Parse(request);
  ASSERT_TRUE(created.ok()) << created.status();
  ASSERT_THAT(created->accesses, SizeIs(3));
  EXPECT_EQ(created->accesses[0].filesystem, "xfs");
  EXPECT_THAT(created->accesses[0].mount_flags, ElementsAre("noatime"));
  EXPECT_EQ(created->accesses[0].mode, volume::AccessMode::kSingleNodeReaderOnly);
  EXPECT_EQ(created->accesses[1].mode, volume::AccessMode::kSingleNodeSingleWriter);
  EXPECT_EQ(created->accesses[2].mode, volume::AccessMode::kSingleNodeMultiWriter);
}

// A block volume has no filesystem, no minimum, and no use for mkfs options, wrong ones included.
TEST(ParseCreateVolumeTest, ReadsABlockVolume) {
  auto request = CreateRequest();
  *request.mutable_volume_capabilities(0) = Block();
  request.mutable_capacity_range()->set_required_bytes(1);
  (*request.mutable_parameters())["mkfsOptions"] = "-n";
  const auto created = Parse(request);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_TRUE(created->accesses[0].block);
  EXPECT_EQ(created->accesses[0].filesystem, "");
  EXPECT_EQ(created->capacity_bytes, 4096u);
}

// A filesystem's minimum is what a tiny request is raised to.
TEST(ParseCreateVolumeTest, RaisesToTheFilesystemsMinimum) {
  auto request = CreateRequest();
  *request.mutable_volume_capabilities(0) = Mounted("xfs");
  request.mutable_capacity_range()->set_required_bytes(1);
  const auto created = Parse(request);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_GE(created->capacity_bytes, filesystem::MinimumBytes("xfs"));
  EXPECT_LT(created->capacity_bytes, filesystem::MinimumBytes("xfs") + kCapacityGranularity);
  request.mutable_capacity_range()->set_limit_bytes(4096);
  ExpectError(Parse(request), absl::StatusCode::kOutOfRange, "capacity_range.limit_bytes");
}

// A request without a capacity gets the default.
TEST(ParseCreateVolumeTest, HasADefaultCapacity) {
  auto request = CreateRequest();
  request.clear_capacity_range();
  const auto created = Parse(request);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->capacity_bytes, kDefaultCapacityBytes);
}

// The parameters are kept to compare repeats and for the volume's context, without the
// provisioner's.
TEST(ParseCreateVolumeTest, KeepsTheParameters) {
  auto request = CreateRequest();
  (*request.mutable_parameters())["backend"] = "loop:/x";
  (*request.mutable_parameters())["csi.storage.k8s.io/pvc/name"] = "data";
  const auto created = Parse(request);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_THAT(created->parameters, UnorderedElementsAre(Pair("backend", "loop:/x")));
  EXPECT_EQ(created->options.backend, "loop:/x");
}

// An encrypted volume comes with its key.
TEST(ParseCreateVolumeTest, ReadsAnEncryptedVolume) {
  const auto created = Parse(EncryptedCreateRequest());
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_TRUE(created->options.encrypted);
  ASSERT_TRUE(created->secret.has_value());
  EXPECT_EQ(
      std::string(created->secret->current.bytes.chars(), created->secret->current.bytes.size()),
      "a passphrase of no value");
}

// An encrypted volume without a secret says how to name one.
TEST(ParseCreateVolumeTest, WantsTheSecretOfAnEncryptedVolume) {
  auto request = EncryptedCreateRequest();
  request.clear_secrets();
  ExpectInvalid(Parse(request), "csi.storage.k8s.io/provisioner-secret-name");
}

// A secret without a usable key, or with a bad cipher, is found before anything is allocated.
TEST(ParseCreateVolumeTest, ChecksTheSecretAndTheFormat) {
  auto request = EncryptedCreateRequest();
  (*request.mutable_secrets())["CRYPTO_KEY_VALUE"] = "";
  ExpectInvalid(Parse(request), "CRYPTO_KEY_VALUE is empty");
  request = EncryptedCreateRequest();
  (*request.mutable_secrets())["CRYPTO_KEY_CIPHER"] = "cipher_null";
  ExpectInvalid(Parse(request), "CRYPTO_KEY_CIPHER");
}

// A secret that came along for a volume without encryption is not looked at.
TEST(ParseCreateVolumeTest, IgnoresTheSecretOfAPlainVolume) {
  auto request = CreateRequest();
  (*request.mutable_secrets())["CRYPTO_KEY_VALUE"] = "";
  EXPECT_TRUE(Parse(request).ok());
}

// Topologies come out as they went in.
TEST(ParseCreateVolumeTest, ReadsTopologies) {
  auto request = CreateRequest();
  auto& topology = *request.mutable_accessibility_requirements();
  (*topology.add_requisite()->mutable_segments())["node"] = "a";
  (*topology.add_requisite()->mutable_segments())["node"] = "b";
  (*topology.add_preferred()->mutable_segments())["node"] = "b";
  const auto created = Parse(request);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_THAT(created->requisite,
              ElementsAre(ElementsAre(Pair("node", "a")), ElementsAre(Pair("node", "b"))));
  EXPECT_THAT(created->preferred, ElementsAre(ElementsAre(Pair("node", "b"))));
}

// What is missing is named.
TEST(ParseCreateVolumeTest, NamesWhatIsMissing) {
  auto request = CreateRequest();
  request.clear_name();
  ExpectInvalid(Parse(request), "name is missing");
  request = CreateRequest();
  request.clear_volume_capabilities();
  ExpectInvalid(Parse(request), "volume_capabilities is missing");
  request = CreateRequest();
  request.mutable_volume_capabilities(0)->clear_access_type();
  ExpectInvalid(Parse(request), "access_type is missing");
  request = CreateRequest();
  request.mutable_volume_capabilities(0)->clear_access_mode();
  ExpectInvalid(Parse(request), "access_mode is missing");
}

// Names of 128 bytes work; longer ones, and control characters, do not.
TEST(ParseCreateVolumeTest, ChecksTheName) {
  auto request = CreateRequest();
  request.set_name(std::string(128, 'n'));
  EXPECT_TRUE(Parse(request).ok());
  request.set_name(std::string(129, 'n'));
  ExpectInvalid(Parse(request), "name has 129 bytes");
  for (const std::string& name :
       {std::string("a\nb"), std::string("a\0b", 3), std::string("\x7f")}) {
    request.set_name(name);
    ExpectInvalid(Parse(request), "name contains a control character");
  }
}

// A volume is on one node: each of the multi-node modes is refused by its name, an unknown one too.
TEST(ParseCreateVolumeTest, RefusesMultiNodeModes) {
  for (const auto mode : {Mode::MULTI_NODE_READER_ONLY, Mode::MULTI_NODE_SINGLE_WRITER,
                          Mode::MULTI_NODE_MULTI_WRITER}) {
    auto request = CreateRequest();
    *request.mutable_volume_capabilities(0) = Mounted("", mode);
    ExpectInvalid(Parse(request), Mode::Mode_Name(mode));
  }
  auto request = CreateRequest();
  *request.mutable_volume_capabilities(0) = Mounted("", static_cast<Mode::Mode>(42));
  ExpectInvalid(Parse(request), "42");
}

// Filesystems that are not ours, mount flags that break out, and mkfs options that do, are refused.
TEST(ParseCreateVolumeTest, RefusesWhatTheFilesystemCannotHave) {
  auto request = CreateRequest();
  *request.mutable_volume_capabilities(0) = Mounted("ntfs");
  ExpectInvalid(Parse(request), "ntfs");
  request = CreateRequest();
  request.mutable_volume_capabilities(0)->mutable_mount()->add_mount_flags("bind");
  ExpectInvalid(Parse(request), "bind");
  request = CreateRequest();
  (*request.mutable_parameters())["mkfsOptions"] = "-n";
  ExpectInvalid(Parse(request), "-n");
  request = CreateRequest();
  request.mutable_volume_capabilities(0)->mutable_mount()->set_volume_mount_group("1000");
  ExpectInvalid(Parse(request), "volume_mount_group");
}

// One volume cannot be a device and a filesystem, or two filesystems.
TEST(ParseCreateVolumeTest, RefusesContradictingCapabilities) {
  for (const VolumeCapability& second : {Block(), Mounted("btrfs")}) {
    auto request = CreateRequest();
    *request.add_volume_capabilities() = second;
    ExpectInvalid(Parse(request), "contradict");
  }
  auto request = CreateRequest();
  *request.add_volume_capabilities() = Mounted("ext4");  // the default, spelt out
  EXPECT_TRUE(Parse(request).ok());
}

// What the driver does not do is refused, and not ignored.
TEST(ParseCreateVolumeTest, RefusesSourcesAndMutableParameters) {
  auto request = CreateRequest();
  request.mutable_volume_content_source()->mutable_snapshot()->set_snapshot_id("s");
  ExpectInvalid(Parse(request), "cloning and snapshots are not supported");
  request = CreateRequest();
  (*request.mutable_mutable_parameters())["iops"] = "1";
  ExpectInvalid(Parse(request), "mutable_parameters");
}

// A misspelt parameter fails here, with its name.
TEST(ParseCreateVolumeTest, RefusesUnknownParameters) {
  auto request = CreateRequest();
  (*request.mutable_parameters())["encryptd"] = "true";
  ExpectInvalid(Parse(request), "encryptd");
}

// Parameters are at most 4 KiB, what Kubernetes adds left out.
TEST(ParseCreateVolumeTest, BoundsTheParameters) {
  auto request = CreateRequest();
  (*request.mutable_parameters())["backend"] = std::string(4096 - 7, 'x');
  (*request.mutable_parameters())["csi.storage.k8s.io/pvc/name"] = std::string(4096, 'x');
  EXPECT_TRUE(Parse(request).ok());
  (*request.mutable_parameters())["backend"] += "x";
  ExpectInvalid(Parse(request), "parameters has 4097 bytes");
}

}  // namespace
}  // namespace cryptvol::driver
