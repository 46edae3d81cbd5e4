// What NodeStageVolume and NodePublishVolume take from their requests; the secrets that a request brings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "request_fixture.h"

namespace cryptvol::driver {
namespace {

using ::testing::Each;

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

}  // namespace
}  // namespace cryptvol::driver
