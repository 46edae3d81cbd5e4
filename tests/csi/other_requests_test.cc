// The requests that are small, and ValidateVolumeCapabilities.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "request_fixture.h"

namespace cryptvol::driver {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

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
