// Requests that are right, for tests to change, and what to expect of a parser that refuses one.
#ifndef CRYPTVOL_TESTS_CSI_REQUEST_FIXTURE_H_
#define CRYPTVOL_TESTS_CSI_REQUEST_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/status.h"
#include "csi/request_parser.h"

namespace cryptvol::driver {

using ::csi::v1::VolumeCapability;
using Mode = VolumeCapability::AccessMode;

inline VolumeCapability Mounted(const std::string& fs_type = "",
                                Mode::Mode mode = Mode::SINGLE_NODE_WRITER) {
  VolumeCapability capability;
  capability.mutable_mount()->set_fs_type(fs_type);
  capability.mutable_access_mode()->set_mode(mode);
  return capability;
}

inline VolumeCapability Block(Mode::Mode mode = Mode::SINGLE_NODE_WRITER) {
  VolumeCapability capability;
  capability.mutable_block();
  capability.mutable_access_mode()->set_mode(mode);
  return capability;
}

inline ::csi::v1::CreateVolumeRequest CreateRequest() {
  ::csi::v1::CreateVolumeRequest request;
  request.set_name("pvc-1");
  request.mutable_capacity_range()->set_required_bytes(int64_t{10} << 30);
  *request.add_volume_capabilities() = Mounted();
  return request;
}

inline ::csi::v1::CreateVolumeRequest EncryptedCreateRequest() {
  auto request = CreateRequest();
  (*request.mutable_parameters())["encrypted"] = "true";
  (*request.mutable_secrets())["CRYPTO_KEY_VALUE"] = "a passphrase of no value";
  return request;
}

inline ::csi::v1::NodeStageVolumeRequest StageRequest() {
  ::csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id("pvc-1");
  request.set_staging_target_path("/var/lib/kubelet/plugins/x/globalmount");
  *request.mutable_volume_capability() = Mounted();
  return request;
}

inline ::csi::v1::NodePublishVolumeRequest PublishRequest() {
  ::csi::v1::NodePublishVolumeRequest request;
  request.set_volume_id("pvc-1");
  request.set_staging_target_path("/var/lib/kubelet/plugins/x/globalmount");
  request.set_target_path("/var/lib/kubelet/pods/y/mount");
  *request.mutable_volume_capability() = Mounted();
  return request;
}

inline ::csi::v1::ValidateVolumeCapabilitiesRequest ValidateRequestFor(
    const VolumeCapability& capability) {
  ::csi::v1::ValidateVolumeCapabilitiesRequest request;
  request.set_volume_id("pvc-1");
  *request.add_volume_capabilities() = capability;
  return request;
}

// Parsers of requests with secrets take a pointer: each gets a copy of its own.
inline auto Parse(::csi::v1::CreateVolumeRequest request) { return ParseCreateVolume(&request); }
inline auto Parse(::csi::v1::DeleteVolumeRequest request) { return ParseDeleteVolume(&request); }
inline auto Parse(::csi::v1::NodeStageVolumeRequest request) { return ParseStage(&request); }
inline auto Parse(::csi::v1::NodePublishVolumeRequest request) { return ParsePublish(&request); }
inline auto Parse(::csi::v1::ValidateVolumeCapabilitiesRequest request) {
  return ParseValidateCapabilities(&request);
}

template <typename T>
void ExpectError(const absl::StatusOr<T>& result, absl::StatusCode code, const std::string& part) {
  EXPECT_EQ(result.status().code(), code) << result.status();
  EXPECT_THAT(Message(result.status()), ::testing::HasSubstr(part));
}

template <typename T>
void ExpectInvalid(const absl::StatusOr<T>& result, const std::string& part) {
  ExpectError(result, absl::StatusCode::kInvalidArgument, part);
}

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_TESTS_CSI_REQUEST_FIXTURE_H_
