#include "csi/request_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "csi/capacity_range.h"
#include "filesystem/tools.h"

namespace cryptvol::driver {
namespace {

using ::csi::v1::VolumeCapability;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;
using Mode = VolumeCapability::AccessMode;

VolumeCapability Mounted(const std::string& fs_type = "",
                         Mode::Mode mode = Mode::SINGLE_NODE_WRITER) {
  VolumeCapability capability;
  capability.mutable_mount()->set_fs_type(fs_type);
  capability.mutable_access_mode()->set_mode(mode);
  return capability;
}

VolumeCapability Block(Mode::Mode mode = Mode::SINGLE_NODE_WRITER) {
  VolumeCapability capability;
  capability.mutable_block();
  capability.mutable_access_mode()->set_mode(mode);
  return capability;
}

::csi::v1::CreateVolumeRequest CreateRequest() {
  ::csi::v1::CreateVolumeRequest request;
  request.set_name("pvc-1");
  request.mutable_capacity_range()->set_required_bytes(int64_t{10} << 30);
  *request.add_volume_capabilities() = Mounted();
  return request;
}

::csi::v1::CreateVolumeRequest EncryptedCreateRequest() {
  auto request = CreateRequest();
  (*request.mutable_parameters())["encrypted"] = "true";
  (*request.mutable_secrets())["CRYPTO_KEY_VALUE"] = "a passphrase of no value";
  return request;
}

::csi::v1::NodeStageVolumeRequest StageRequest() {
  ::csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id("pvc-1");
  request.set_staging_target_path("/var/lib/kubelet/plugins/x/globalmount");
  *request.mutable_volume_capability() = Mounted();
  return request;
}

::csi::v1::NodePublishVolumeRequest PublishRequest() {
  ::csi::v1::NodePublishVolumeRequest request;
  request.set_volume_id("pvc-1");
  request.set_staging_target_path("/var/lib/kubelet/plugins/x/globalmount");
  request.set_target_path("/var/lib/kubelet/pods/y/mount");
  *request.mutable_volume_capability() = Mounted();
  return request;
}

::csi::v1::ValidateVolumeCapabilitiesRequest ValidateRequestFor(
    const VolumeCapability& capability) {
  ::csi::v1::ValidateVolumeCapabilitiesRequest request;
  request.set_volume_id("pvc-1");
  *request.add_volume_capabilities() = capability;
  return request;
}

// Parsers of requests with secrets take a pointer: each gets a copy of its own.
auto Parse(::csi::v1::CreateVolumeRequest request) { return ParseCreateVolume(&request); }
auto Parse(::csi::v1::DeleteVolumeRequest request) { return ParseDeleteVolume(&request); }
auto Parse(::csi::v1::NodeStageVolumeRequest request) { return ParseStage(&request); }
auto Parse(::csi::v1::NodePublishVolumeRequest request) { return ParsePublish(&request); }
auto Parse(::csi::v1::ValidateVolumeCapabilitiesRequest request) {
  return ParseValidateCapabilities(&request);
}

template <typename T>
void ExpectError(const absl::StatusOr<T>& result, absl::StatusCode code, const std::string& part) {
  EXPECT_EQ(result.status().code(), code) << result.status();
  EXPECT_THAT(Message(result.status()), HasSubstr(part));
}

template <typename T>
void ExpectInvalid(const absl::StatusOr<T>& result, const std::string& part) {
  ExpectError(result, absl::StatusCode::kInvalidArgument, part);
}

// ------------------------------------------------------------------------------ CreateVolume

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

// ------------------------------------------------------------------------------ secrets

// Overwrites `request`'s secret by `parse` and says whether the buffer then reads zero.
template <typename Request, typename ParseFunction>
void ExpectSecretWiped(Request request, ParseFunction parse) {
  const std::string value(100, 'k');  // far beyond the small-string buffer
  (*request.mutable_secrets())["CRYPTO_KEY_VALUE"] = value;
  const char* buffer = request.secrets().at("CRYPTO_KEY_VALUE").data();
  (void)parse(&request);
  EXPECT_THAT(std::vector<char>(buffer, buffer + value.size()), Each('\0'));
}

// Each call that carries secrets overwrites them, when it succeeds, when it fails at its first
// field, and when they are not needed.
TEST(SecretsTest, AreOverwrittenInTheRequest) {
  ExpectSecretWiped(EncryptedCreateRequest(), ParseCreateVolume);
  ExpectSecretWiped(CreateRequest(), ParseCreateVolume);
  ExpectSecretWiped(::csi::v1::CreateVolumeRequest(), ParseCreateVolume);
  ExpectSecretWiped(::csi::v1::DeleteVolumeRequest(), ParseDeleteVolume);
  ExpectSecretWiped(::csi::v1::ValidateVolumeCapabilitiesRequest(), ParseValidateCapabilities);
  ExpectSecretWiped(StageRequest(), ParseStage);
  ExpectSecretWiped(::csi::v1::NodeStageVolumeRequest(), ParseStage);
  ExpectSecretWiped(PublishRequest(), ParsePublish);
  ExpectSecretWiped(::csi::v1::NodePublishVolumeRequest(), ParsePublish);
}

// A short secret lies inside the string itself and is overwritten there.
TEST(SecretsTest, ShortOnesAreOverwrittenToo) {
  auto request = EncryptedCreateRequest();
  (*request.mutable_secrets())["CRYPTO_KEY_VALUE"].assign("short");
  (*request.mutable_secrets())["CRYPTO_KEY_VALUE"].shrink_to_fit();
  const char* buffer = request.secrets().at("CRYPTO_KEY_VALUE").data();
  EXPECT_TRUE(ParseCreateVolume(&request).ok());
  EXPECT_THAT(std::vector<char>(buffer, buffer + 5), Each('\0'));
}

// ------------------------------------------------------------------------------ NodeStageVolume

// A static volume names its device and brings its key.
TEST(ParseStageTest, ReadsAStaticEncryptedVolume) {
  auto request = StageRequest();
  (*request.mutable_volume_context())["encrypted"] = "true";
  (*request.mutable_volume_context())["device"] = "/dev/disk/by-id/wwn-0x5000";
  (*request.mutable_volume_context())["storage.kubernetes.io/csiProvisionerIdentity"] = "1-2-x";
  (*request.mutable_secrets())["luksKey"] = "p";
  const auto staged = Parse(request);
  ASSERT_TRUE(staged.ok()) << staged.status();
  EXPECT_EQ(staged->volume_id, "pvc-1");
  EXPECT_EQ(staged->staging_path, "/var/lib/kubelet/plugins/x/globalmount");
  EXPECT_EQ(staged->access.filesystem, "ext4");
  EXPECT_EQ(staged->options.device, "/dev/disk/by-id/wwn-0x5000");
  ASSERT_TRUE(staged->secret.has_value());
  EXPECT_EQ(staged->secret->current.secret_key, "luksKey");
}

// Missing fields are named one by one.
TEST(ParseStageTest, NamesWhatIsMissing) {
  auto request = StageRequest();
  request.clear_volume_id();
  ExpectInvalid(Parse(request), "volume_id is missing");
  request = StageRequest();
  request.clear_staging_target_path();
  ExpectInvalid(Parse(request), "staging_target_path is missing");
  request = StageRequest();
  request.clear_volume_capability();
  ExpectInvalid(Parse(request), "volume_capability is missing");
  request = StageRequest();
  (*request.mutable_volume_context())["encrypted"] = "true";
  ExpectInvalid(Parse(request), "nodeStageSecretRef");
}

// A mode that no node can give is a capability exceeded, which is another code than in
// CreateVolume.
TEST(ParseStageTest, MultiNodeModesExceedTheCapabilities) {
  auto request = StageRequest();
  *request.mutable_volume_capability() = Block(Mode::MULTI_NODE_MULTI_WRITER);
  ExpectError(Parse(request), absl::StatusCode::kFailedPrecondition, "MULTI_NODE_MULTI_WRITER");
}

// Paths are absolute, without "..", NUL or more than 4096 bytes.
TEST(ParseStageTest, ChecksPaths) {
  auto request = StageRequest();
  for (const std::string& path :
       {std::string("relative"), std::string("/a/../b"), std::string("/.."),
        std::string("/a\0b", 4), "/" + std::string(4096, 'x')}) {
    request.set_staging_target_path(path);
    ExpectInvalid(Parse(request), "staging_target_path");
  }
  for (const std::string& path :
       {std::string("/a/..b/c.."), std::string("/a//b/"), "/" + std::string(4095, 'x')}) {
    request.set_staging_target_path(path);
    EXPECT_TRUE(Parse(request).ok()) << path;
  }
}

// mkfs options of a hand-written PersistentVolume are checked here, where they are first seen.
TEST(ParseStageTest, ChecksMkfsOptions) {
  auto request = StageRequest();
  (*request.mutable_volume_context())["mkfsOptions"] = "-n";
  ExpectInvalid(Parse(request), "-n");
}

// ------------------------------------------------------------------------------ NodePublishVolume

// Either the flag or the access mode makes a publication read-only.
TEST(ParsePublishTest, ReadOnlyByFlagOrMode) {
  auto request = PublishRequest();
  auto published = Parse(request);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_FALSE(published->read_only);
  EXPECT_EQ(published->volume_id, "pvc-1");
  EXPECT_EQ(published->target_path, "/var/lib/kubelet/pods/y/mount");
  EXPECT_EQ(published->staging_path, "/var/lib/kubelet/plugins/x/globalmount");

  request.set_readonly(true);
  published = Parse(request);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_TRUE(published->read_only);

  request.set_readonly(false);
  *request.mutable_volume_capability() = Mounted("", Mode::SINGLE_NODE_READER_ONLY);
  published = Parse(request);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_TRUE(published->read_only);
}

// A missing staging path has a code of its own; the other fields are missing as everywhere.
TEST(ParsePublishTest, NamesWhatIsMissing) {
  auto request = PublishRequest();
  request.clear_staging_target_path();
  ExpectError(Parse(request), absl::StatusCode::kFailedPrecondition, "staging_target_path");
  request.clear_target_path();
  ExpectInvalid(Parse(request), "target_path is missing");
  request = PublishRequest();
  request.clear_volume_capability();
  ExpectInvalid(Parse(request), "volume_capability is missing");
  request = PublishRequest();
  request.clear_volume_id();
  ExpectInvalid(Parse(request), "volume_id is missing");
}

// A multi-node mode exceeds the capabilities here too, and a staging path is checked like others.
TEST(ParsePublishTest, RefusesWhatStagingRefuses) {
  auto request = PublishRequest();
  *request.mutable_volume_capability() = Mounted("", Mode::MULTI_NODE_READER_ONLY);
  ExpectError(Parse(request), absl::StatusCode::kFailedPrecondition, "MULTI_NODE_READER_ONLY");
  request = PublishRequest();
  request.set_staging_target_path("/a/../b");
  ExpectInvalid(Parse(request), "staging_target_path");
}

// A pod's service account tokens, which kubelet adds, may be large: a republish must not fail for
// that.
TEST(ParsePublishTest, IgnoresWhatKubeletAdds) {
  auto request = PublishRequest();
  (*request.mutable_volume_context())["csi.storage.k8s.io/serviceAccount.tokens"] =
      std::string(10000, 't');
  EXPECT_TRUE(Parse(request).ok());
}

// ------------------------------------------------------------------------------ the small calls

// Calls with an id and a path give both, and name what is missing.
TEST(ParseSmallRequestsTest, ReadIdAndPath) {
  ::csi::v1::NodeUnstageVolumeRequest unstage;
  ExpectInvalid(ParseUnstage(unstage), "volume_id is missing");
  unstage.set_volume_id("v");
  ExpectInvalid(ParseUnstage(unstage), "staging_target_path is missing");
  unstage.set_staging_target_path("/s");
  EXPECT_EQ(ParseUnstage(unstage)->staging_path, "/s");
  EXPECT_EQ(ParseUnstage(unstage)->volume_id, "v");

  ::csi::v1::NodeUnpublishVolumeRequest unpublish;
  ExpectInvalid(ParseUnpublish(unpublish), "volume_id is missing");
  unpublish.set_volume_id("v");
  ExpectInvalid(ParseUnpublish(unpublish), "target_path is missing");
  unpublish.set_target_path("/t");
  EXPECT_EQ(ParseUnpublish(unpublish)->target_path, "/t");
  EXPECT_EQ(ParseUnpublish(unpublish)->volume_id, "v");

  ::csi::v1::NodeGetVolumeStatsRequest stats;
  ExpectInvalid(ParseStats(stats), "volume_id is missing");
  stats.set_volume_id("v");
  ExpectInvalid(ParseStats(stats), "volume_path is missing");
  stats.set_volume_path("some/path");  // is where no volume is mounted, which is NOT_FOUND later
  EXPECT_TRUE(ParseStats(stats).ok());
  stats.set_volume_path("/p");
  EXPECT_EQ(ParseStats(stats)->volume_path, "/p");
  EXPECT_EQ(ParseStats(stats)->volume_id, "v");
}

// DeleteVolume needs nothing but the id.
TEST(ParseSmallRequestsTest, ReadsDeleteVolume) {
  ::csi::v1::DeleteVolumeRequest request;
  ExpectInvalid(Parse(request), "volume_id is missing");
  request.set_volume_id("v");
  EXPECT_EQ(Parse(request).value_or(""), "v");
}

// A page's token leads to the volumes after it; ids of the greatest length included.
TEST(ParseListVolumesTest, ReadsItsOwnTokens) {
  ::csi::v1::ListVolumesRequest request;
  EXPECT_EQ(ParseListVolumes(request)->max_entries, 0u);
  EXPECT_EQ(ParseListVolumes(request)->after_volume_id, "");
  for (const std::string& id : {std::string("pvc-1"), std::string(128, 'v')}) {
    request.set_max_entries(7);
    request.set_starting_token(MakeListToken(id));
    const auto list = ParseListVolumes(request);
    ASSERT_TRUE(list.ok()) << list.status();
    EXPECT_EQ(list->max_entries, 7u);
    EXPECT_EQ(list->after_volume_id, id);
  }
}

// A foreign token is ABORTED, as the specification has it, and a negative number of entries
// invalid.
TEST(ParseListVolumesTest, RefusesForeignTokens) {
  ::csi::v1::ListVolumesRequest request;
  for (const std::string& token : {std::string("invalid-token"), MakeListToken(""),
                                   MakeListToken("a\nb"), MakeListToken(std::string(129, 'v'))}) {
    request.set_starting_token(token);
    ExpectError(ParseListVolumes(request), absl::StatusCode::kAborted, "starting_token");
  }
  request.clear_starting_token();
  request.set_max_entries(-1);
  ExpectInvalid(ParseListVolumes(request), "max_entries");
}

// GetCapacity may come with nothing at all, which is what the provisioner sends.
TEST(ParseGetCapacityTest, ReadsWhatIsThere) {
  ::csi::v1::GetCapacityRequest request;
  auto capacity = ParseGetCapacity(request);
  ASSERT_TRUE(capacity.ok()) << capacity.status();
  EXPECT_THAT(capacity->accesses, IsEmpty());
  EXPECT_THAT(capacity->segments, IsEmpty());

  *request.add_volume_capabilities() = Mounted("btrfs");
  (*request.mutable_parameters())["encrypted"] = "true";
  (*request.mutable_parameters())["backend"] = "loop:/x";
  (*request.mutable_accessible_topology()->mutable_segments())["node"] = "a";
  capacity = ParseGetCapacity(request);
  ASSERT_TRUE(capacity.ok()) << capacity.status();
  EXPECT_EQ(capacity->accesses.at(0).filesystem, "btrfs");
  EXPECT_TRUE(capacity->options.encrypted);
  EXPECT_EQ(capacity->options.backend, "loop:/x");
  EXPECT_THAT(capacity->segments, ElementsAre(Pair("node", "a")));
}

// What no volume could be created with has no capacity to be asked for.
TEST(ParseGetCapacityTest, RefusesWhatCreateRefuses) {
  ::csi::v1::GetCapacityRequest request;
  (*request.mutable_parameters())["encryptd"] = "true";
  ExpectInvalid(ParseGetCapacity(request), "encryptd");
  request.clear_parameters();
  *request.add_volume_capabilities() = Mounted("", Mode::MULTI_NODE_MULTI_WRITER);
  ExpectInvalid(ParseGetCapacity(request), "MULTI_NODE_MULTI_WRITER");
}

// ------------------------------------------------------------------------------ Validate

// What is supported comes back as accesses, without a reason against it.
TEST(ParseValidateTest, ConfirmsWhatIsSupported) {
  auto request = ValidateRequestFor(Mounted("xfs"));
  (*request.mutable_volume_context())["encrypted"] = "true";
  (*request.mutable_parameters())["encrypted"] = "true";
  const auto validated = Parse(request);
  ASSERT_TRUE(validated.ok()) << validated.status();
  EXPECT_EQ(validated->volume_id, "pvc-1");
  EXPECT_EQ(validated->reason, "");
  EXPECT_TRUE(validated->context.encrypted);
  ASSERT_TRUE(validated->accesses.has_value());
  EXPECT_EQ(validated->accesses->at(0).filesystem, "xfs");
}

// What is not supported is no error, but comes back with the reason and without accesses.
TEST(ParseValidateTest, GivesTheReasonForTheRest) {
  std::vector<std::pair<::csi::v1::ValidateVolumeCapabilitiesRequest, std::string>> cases;
  cases.emplace_back(ValidateRequestFor(Block(Mode::MULTI_NODE_SINGLE_WRITER)),
                     "MULTI_NODE_SINGLE_WRITER");
  cases.emplace_back(ValidateRequestFor(Mounted("ntfs")), "ntfs");
  cases.emplace_back(ValidateRequestFor(Mounted()), "colour");
  (*cases.back().first.mutable_parameters())["colour"] = "blue";
  cases.emplace_back(ValidateRequestFor(Mounted()), "sound");
  (*cases.back().first.mutable_volume_context())["sound"] = "loud";
  cases.emplace_back(ValidateRequestFor(Mounted()), "mutable_parameters");
  (*cases.back().first.mutable_mutable_parameters())["iops"] = "1";
  for (const auto& [request, reason] : cases) {
    const auto validated = Parse(request);
    ASSERT_TRUE(validated.ok()) << validated.status();
    EXPECT_FALSE(validated->accesses.has_value());
    EXPECT_THAT(validated->reason, HasSubstr(reason));
  }
}

// A request that is malformed, rather than too demanding, is an error.
TEST(ParseValidateTest, NamesWhatIsMissing) {
  auto request = ValidateRequestFor(Mounted());
  request.clear_volume_id();
  ExpectInvalid(Parse(request), "volume_id is missing");
  request = ValidateRequestFor(Mounted());
  request.clear_volume_capabilities();
  ExpectInvalid(Parse(request), "volume_capabilities is missing");
  ExpectInvalid(Parse(ValidateRequestFor(VolumeCapability())), "access_type is missing");
}

}  // namespace
}  // namespace cryptvol::driver
