#include "csi/request_parser.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "base/secret_bytes.h"
#include "base/status.h"
#include "csi/capacity_range.h"
#include "filesystem/tools.h"
#include "keys/volume_secret.h"
#include "luks/format_parameters.h"
#include "mount/mounter.h"

namespace cryptvol::driver {
namespace {

using ::csi::v1::TopologyRequirement;
using ::csi::v1::VolumeCapability;
using Capabilities = ::google::protobuf::RepeatedPtrField<VolumeCapability>;
using ProtoMap = ::google::protobuf::Map<std::string, std::string>;
using StringMap = std::map<std::string, std::string>;

constexpr size_t kMaxStringBytes = 128;
constexpr size_t kMaxMapBytes = 4096;
constexpr size_t kMaxPathBytes = 4096;
constexpr std::string_view kListTokenPrefix = ">";

void Wipe(ProtoMap* secrets) {
  for (auto& [name, value] : *secrets) WipeString(value);
}

absl::Status CheckName(std::string_view field, const std::string& value) {
  if (value.empty()) return InvalidArgument("{} is missing", field);
  if (value.size() > kMaxStringBytes) {
    return InvalidArgument("{} has {} bytes; at most {} are allowed", field, value.size(),
                           kMaxStringBytes);
  }
  if (std::ranges::any_of(value, [](unsigned char c) { return absl::ascii_iscntrl(c); })) {
    return InvalidArgument("{} contains a control character", field);
  }
  return absl::OkStatus();
}

absl::Status CheckPath(std::string_view field, const std::string& path) {
  if (path.empty()) return InvalidArgument("{} is missing", field);
  if (path.size() > kMaxPathBytes) {
    return InvalidArgument("{} has {} bytes; at most {} are allowed", field, path.size(),
                           kMaxPathBytes);
  }
  if (path.front() != '/') return InvalidArgument("{} is not an absolute path", field);
  if (path.find('\0') != std::string::npos) return InvalidArgument("{} contains a NUL byte", field);
  const std::vector<std::string> parts = absl::StrSplit(path, '/');
  if (std::ranges::find(parts, "..") != parts.end()) {
    return InvalidArgument("{} contains \"..\"", field);
  }
  return absl::OkStatus();
}

// The map without what kubelet and the sidecars add for those who want it: a pod's service account
// tokens, for one, may be larger than the specification lets a map be.
absl::StatusOr<StringMap> ReadMap(std::string_view field, const ProtoMap& map) {
  StringMap result;
  size_t bytes = 0;
  for (const auto& [name, value] : map) {
    if (name.starts_with("csi.storage.k8s.io/")) continue;
    bytes += name.size() + value.size();
    result.emplace(name, value);
  }
  if (bytes <= kMaxMapBytes) return result;
  return InvalidArgument("{} has {} bytes; at most {} are allowed", field, bytes, kMaxMapBytes);
}

// `unsupported` is the code for what is well formed but more than this driver gives.
absl::StatusOr<volume::AccessMode> ParseMode(const VolumeCapability& capability,
                                             absl::StatusCode unsupported) {
  using Mode = VolumeCapability::AccessMode;
  switch (capability.access_mode().mode()) {
    case Mode::SINGLE_NODE_WRITER:
      return volume::AccessMode::kSingleNodeWriter;
    case Mode::SINGLE_NODE_READER_ONLY:
      return volume::AccessMode::kSingleNodeReaderOnly;
    case Mode::SINGLE_NODE_SINGLE_WRITER:
      return volume::AccessMode::kSingleNodeSingleWriter;
    case Mode::SINGLE_NODE_MULTI_WRITER:
      return volume::AccessMode::kSingleNodeMultiWriter;
    case Mode::MULTI_NODE_READER_ONLY:
    case Mode::MULTI_NODE_SINGLE_WRITER:
    case Mode::MULTI_NODE_MULTI_WRITER:
      return MakeStatus(
          unsupported,
          "volume_capability.access_mode is {}, but a volume is on one node at a time; ask for "
          "ReadWriteOnce or ReadWriteOncePod",
          Mode::Mode_Name(capability.access_mode().mode()));
    default:
      return InvalidArgument("volume_capability.access_mode {} is unknown",
                             static_cast<int>(capability.access_mode().mode()));
  }
}

absl::Status CheckMount(const VolumeCapability::MountVolume& wanted, absl::StatusCode unsupported) {
  if (!wanted.volume_mount_group().empty()) {
    return MakeStatus(unsupported,
                      "volume_capability.mount.volume_mount_group is set, but this driver leaves "
                      "ownership to kubelet; unset it");
  }
  size_t bytes = 0;
  for (const std::string& flag : wanted.mount_flags()) bytes += flag.size();
  if (bytes > kMaxMapBytes) {
    return InvalidArgument(
        "volume_capability.mount.mount_flags have {} bytes; at most {} are allowed", bytes,
        kMaxMapBytes);
  }
  return mount::CheckMountFlags({wanted.mount_flags().begin(), wanted.mount_flags().end()});
}

absl::Status CheckCapabilityIsComplete(const VolumeCapability& capability) {
  if (capability.access_type_case() == VolumeCapability::ACCESS_TYPE_NOT_SET) {
    return InvalidArgument("volume_capability.access_type is missing");
  }
  if (capability.access_mode().mode() == VolumeCapability::AccessMode::UNKNOWN) {
    return InvalidArgument("volume_capability.access_mode is missing");
  }
  return absl::OkStatus();
}

absl::StatusOr<volume::Access> ParseCapability(const VolumeCapability& capability,
                                               absl::StatusCode unsupported) {
  CV_RETURN_IF_ERROR(CheckCapabilityIsComplete(capability));
  volume::Access access;
  access.block = capability.has_block();
  if (capability.has_mount()) {
    const auto& wanted = capability.mount();
    if (!wanted.fs_type().empty()) {
      CV_RETURN_IF_ERROR(CheckName("volume_capability.mount.fs_type", wanted.fs_type()));
    }
    CV_ASSIGN_OR_RETURN(access.filesystem, filesystem::NormalizeType(wanted.fs_type()));
    CV_RETURN_IF_ERROR(CheckMount(wanted, unsupported));
    access.mount_flags.assign(wanted.mount_flags().begin(), wanted.mount_flags().end());
  }
  CV_ASSIGN_OR_RETURN(access.mode, ParseMode(capability, unsupported));
  return access;
}

// For the calls that name a single capability.
absl::StatusOr<volume::Access> ParseNodeCapability(bool present,
                                                   const VolumeCapability& capability) {
  if (!present) return InvalidArgument("volume_capability is missing");
  return ParseCapability(capability, absl::StatusCode::kFailedPrecondition);
}

absl::StatusOr<std::vector<volume::Access>> ParseCapabilities(const Capabilities& capabilities) {
  std::vector<volume::Access> accesses;
  for (const VolumeCapability& capability : capabilities) {
    CV_ASSIGN_OR_RETURN(volume::Access access,
                        ParseCapability(capability, absl::StatusCode::kInvalidArgument));
    accesses.push_back(std::move(access));
    const volume::Access& first = accesses.front();
    if (accesses.back().block != first.block || accesses.back().filesystem != first.filesystem) {
      return InvalidArgument(
          "volume_capabilities contradict each other: a volume is a block device or holds one "
          "filesystem");
    }
  }
  return accesses;
}

// mkfsOptions are nothing to a block volume: one StorageClass serves both kinds.
absl::Status CheckMakeOptions(const volume::Access& access, const volume::VolumeOptions& options) {
  if (access.block) return absl::OkStatus();
  return filesystem::CheckMakeOptions(access.filesystem, options.mkfs_options);
}

// The secret of an encrypted volume. `reference` says where its user has to name it.
absl::StatusOr<std::optional<keys::VolumeSecret>> ParseSecret(const volume::VolumeOptions& options,
                                                              const ProtoMap& secrets,
                                                              std::string_view reference) {
  if (!options.encrypted) return std::nullopt;
  if (secrets.empty()) {
    return InvalidArgument(
        "secrets is missing: the volume is encrypted, and no Secret with its key "
        "(CRYPTO_KEY_VALUE) came along; name one by {}",
        reference);
  }
  // Copied and not moved: a moved-from short string still holds its bytes. The caller overwrites
  // the originals, and ParseVolumeSecret the copies.
  StringMap copy;
  for (const auto& [name, value] : secrets) copy[name] = value;
  CV_ASSIGN_OR_RETURN(keys::VolumeSecret secret, keys::ParseVolumeSecret(copy));
  return std::optional(std::move(secret));
}

std::vector<StringMap> Segments(
    const ::google::protobuf::RepeatedPtrField<::csi::v1::Topology>& topologies) {
  std::vector<StringMap> result;
  for (const auto& topology : topologies) {
    result.emplace_back(topology.segments().begin(), topology.segments().end());
  }
  return result;
}

absl::Status CheckUnsupportedCreateFields(const ::csi::v1::CreateVolumeRequest& request) {
  if (request.has_volume_content_source()) {
    return InvalidArgument(
        "volume_content_source is set, but cloning and snapshots are not supported; create an "
        "empty volume");
  }
  if (!request.mutable_parameters().empty()) {
    return InvalidArgument(
        "mutable_parameters is set, but volumes cannot be modified; create the claim without a "
        "VolumeAttributesClass");
  }
  return absl::OkStatus();
}

absl::Status CheckCreateRequest(const volume::CreateRequest& request) {
  for (const volume::Access& access : request.accesses) {
    CV_RETURN_IF_ERROR(CheckMakeOptions(access, request.options));
  }
  if (!request.secret) return absl::OkStatus();
  return luks::ResolveFormatParameters(request.options.format, request.secret->format,
                                       request.secret->random)
      .status();
}

// What ValidateVolumeCapabilities does not confirm.
absl::Status ReadValidatedFields(const ::csi::v1::ValidateVolumeCapabilitiesRequest& request,
                                 ValidateRequest& result) {
  CV_ASSIGN_OR_RETURN(std::vector<volume::Access> accesses,
                      ParseCapabilities(request.volume_capabilities()));
  CV_ASSIGN_OR_RETURN(const StringMap context, ReadMap("volume_context", request.volume_context()));
  CV_ASSIGN_OR_RETURN(result.context,
                      volume::ParseVolumeOptions(context, volume::OptionSource::kVolumeAttributes));
  CV_ASSIGN_OR_RETURN(const StringMap parameters, ReadMap("parameters", request.parameters()));
  CV_RETURN_IF_ERROR(volume::ParseVolumeOptions(parameters, volume::OptionSource::kStorageClass));
  if (!request.mutable_parameters().empty()) {
    return InvalidArgument("mutable_parameters is set, but volumes cannot be modified");
  }
  result.accesses = std::move(accesses);
  return absl::OkStatus();
}

// A rescued volume is used read-only, whatever access mode its PersistentVolume has.
absl::Status ApplyRescue(const volume::VolumeOptions& options, volume::Access& access) {
  if (!options.rescue) return absl::OkStatus();
  if (access.block && !options.encrypted) {
    return InvalidArgument(
        "rescue: \"true\" cannot keep a pod from writing to the device of a plain block volume; use "
        "volumeMode: Filesystem, or make the device read-only (blockdev --setro)");
  }
  access.mode = volume::AccessMode::kSingleNodeReaderOnly;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<volume::CreateRequest> ParseCreateVolume(::csi::v1::CreateVolumeRequest* request) {
  const absl::Cleanup wipe = [request] { Wipe(request->mutable_secrets()); };
  volume::CreateRequest result;
  CV_RETURN_IF_ERROR(CheckName("name", request->name()));
  result.name = request->name();
  if (request->volume_capabilities().empty()) {
    return InvalidArgument("volume_capabilities is missing");
  }
  CV_RETURN_IF_ERROR(CheckUnsupportedCreateFields(*request));
  CV_ASSIGN_OR_RETURN(result.accesses, ParseCapabilities(request->volume_capabilities()));
  CV_ASSIGN_OR_RETURN(result.parameters, ReadMap("parameters", request->parameters()));
  CV_ASSIGN_OR_RETURN(result.options, volume::ParseVolumeOptions(
                                          result.parameters, volume::OptionSource::kStorageClass));
  const volume::Access& first = result.accesses.front();
  CV_ASSIGN_OR_RETURN(
      result.capacity_bytes,
      ResolveCapacity(request->capacity_range(),
                      first.block ? 0 : filesystem::MinimumBytes(first.filesystem)));
  result.required_bytes = static_cast<uint64_t>(request->capacity_range().required_bytes());
  result.limit_bytes = static_cast<uint64_t>(request->capacity_range().limit_bytes());
  CV_ASSIGN_OR_RETURN(
      result.secret,
      ParseSecret(result.options, request->secrets(),
                  "csi.storage.k8s.io/provisioner-secret-name and -namespace in the StorageClass"));
  CV_RETURN_IF_ERROR(CheckCreateRequest(result));
  result.requisite = Segments(request->accessibility_requirements().requisite());
  result.preferred = Segments(request->accessibility_requirements().preferred());
  return result;
}

absl::StatusOr<std::string> ParseDeleteVolume(::csi::v1::DeleteVolumeRequest* request) {
  Wipe(request->mutable_secrets());
  CV_RETURN_IF_ERROR(CheckName("volume_id", request->volume_id()));
  return request->volume_id();
}

absl::StatusOr<ValidateRequest> ParseValidateCapabilities(
    ::csi::v1::ValidateVolumeCapabilitiesRequest* request) {
  Wipe(request->mutable_secrets());
  ValidateRequest result;
  CV_RETURN_IF_ERROR(CheckName("volume_id", request->volume_id()));
  result.volume_id = request->volume_id();
  if (request->volume_capabilities().empty()) {
    return InvalidArgument("volume_capabilities is missing");
  }
  for (const VolumeCapability& capability : request->volume_capabilities()) {
    CV_RETURN_IF_ERROR(CheckCapabilityIsComplete(capability));
  }
  result.reason = Message(ReadValidatedFields(*request, result));
  return result;
}

absl::StatusOr<ListRequest> ParseListVolumes(const ::csi::v1::ListVolumesRequest& request) {
  if (request.max_entries() < 0) return InvalidArgument("max_entries is negative");
  ListRequest result;
  result.max_entries = static_cast<size_t>(request.max_entries());
  const std::string& token = request.starting_token();
  if (token.empty()) return result;
  if (token.starts_with(kListTokenPrefix)) {
    result.after_volume_id = token.substr(kListTokenPrefix.size());
  }
  if (!CheckName("starting_token", result.after_volume_id).ok()) {
    return MakeStatus(absl::StatusCode::kAborted,
                      "starting_token is not one that this driver gave; list again from the start");
  }
  return result;
}

std::string MakeListToken(const std::string& last_volume_id) {
  return fmt::format("{}{}", kListTokenPrefix, last_volume_id);
}

absl::StatusOr<CapacityRequest> ParseGetCapacity(const ::csi::v1::GetCapacityRequest& request) {
  CapacityRequest result;
  CV_ASSIGN_OR_RETURN(result.accesses, ParseCapabilities(request.volume_capabilities()));
  CV_ASSIGN_OR_RETURN(const StringMap parameters, ReadMap("parameters", request.parameters()));
  CV_ASSIGN_OR_RETURN(result.options,
                      volume::ParseVolumeOptions(parameters, volume::OptionSource::kStorageClass));
  const auto& segments = request.accessible_topology().segments();
  result.segments = {segments.begin(), segments.end()};
  return result;
}

absl::StatusOr<volume::StageRequest> ParseStage(::csi::v1::NodeStageVolumeRequest* request) {
  const absl::Cleanup wipe = [request] { Wipe(request->mutable_secrets()); };
  volume::StageRequest result;
  CV_RETURN_IF_ERROR(CheckName("volume_id", request->volume_id()));
  CV_RETURN_IF_ERROR(CheckPath("staging_target_path", request->staging_target_path()));
  result.volume_id = request->volume_id();
  result.staging_path = request->staging_target_path();
  CV_ASSIGN_OR_RETURN(result.access, ParseNodeCapability(request->has_volume_capability(),
                                                         request->volume_capability()));
  CV_ASSIGN_OR_RETURN(const StringMap context,
                      ReadMap("volume_context", request->volume_context()));
  CV_ASSIGN_OR_RETURN(result.options,
                      volume::ParseVolumeOptions(context, volume::OptionSource::kVolumeAttributes));
  CV_RETURN_IF_ERROR(CheckMakeOptions(result.access, result.options));
  CV_RETURN_IF_ERROR(ApplyRescue(result.options, result.access));
  CV_ASSIGN_OR_RETURN(
      result.secret,
      ParseSecret(
          result.options, request->secrets(),
          "csi.storage.k8s.io/node-stage-secret-name and -namespace in the StorageClass, or "
          "nodeStageSecretRef in the PersistentVolume"));
  return result;
}

absl::StatusOr<volume::UnstageRequest> ParseUnstage(
    const ::csi::v1::NodeUnstageVolumeRequest& request) {
  CV_RETURN_IF_ERROR(CheckName("volume_id", request.volume_id()));
  CV_RETURN_IF_ERROR(CheckPath("staging_target_path", request.staging_target_path()));
  return volume::UnstageRequest{request.volume_id(), request.staging_target_path()};
}

absl::StatusOr<volume::PublishRequest> ParsePublish(::csi::v1::NodePublishVolumeRequest* request) {
  const absl::Cleanup wipe = [request] { Wipe(request->mutable_secrets()); };
  volume::PublishRequest result;
  CV_RETURN_IF_ERROR(CheckName("volume_id", request->volume_id()));
  CV_RETURN_IF_ERROR(CheckPath("target_path", request->target_path()));
  CV_ASSIGN_OR_RETURN(result.access, ParseNodeCapability(request->has_volume_capability(),
                                                         request->volume_capability()));
  if (request->staging_target_path().empty()) {
    return FailedPrecondition(
        "staging_target_path is missing: the volume has to be staged first; in-line ephemeral "
        "volumes are not supported");
  }
  CV_RETURN_IF_ERROR(CheckPath("staging_target_path", request->staging_target_path()));
  CV_ASSIGN_OR_RETURN(const StringMap context,
                      ReadMap("volume_context", request->volume_context()));
  CV_ASSIGN_OR_RETURN(result.options,
                      volume::ParseVolumeOptions(context, volume::OptionSource::kVolumeAttributes));
  result.volume_id = request->volume_id();
  result.staging_path = request->staging_target_path();
  result.target_path = request->target_path();
  CV_RETURN_IF_ERROR(ApplyRescue(result.options, result.access));
  result.read_only = request->readonly() || result.access.read_only();
  if (!request->secrets().empty()) {
    auto secret = ParseSecret(result.options, request->secrets(), "nodePublishSecretRef");
    result.secret_status = secret.status();
    if (secret.ok()) result.secret = *std::move(secret);
  }
  return result;
}

absl::StatusOr<volume::UnpublishRequest> ParseUnpublish(
    const ::csi::v1::NodeUnpublishVolumeRequest& request) {
  CV_RETURN_IF_ERROR(CheckName("volume_id", request.volume_id()));
  CV_RETURN_IF_ERROR(CheckPath("target_path", request.target_path()));
  return volume::UnpublishRequest{request.volume_id(), request.target_path()};
}

absl::StatusOr<volume::StatsRequest> ParseStats(
    const ::csi::v1::NodeGetVolumeStatsRequest& request) {
  CV_RETURN_IF_ERROR(CheckName("volume_id", request.volume_id()));
  // Nothing is made or mounted there: a path where no volume can be is NOT_FOUND, not
  // INVALID_ARGUMENT.
  if (request.volume_path().empty()) return InvalidArgument("volume_path is missing");
  return volume::StatsRequest{request.volume_id(), request.volume_path()};
}

}  // namespace cryptvol::driver
