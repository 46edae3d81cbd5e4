#include "worker/dispatcher.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/status.h"
#include "block/inspect.h"
#include "filesystem/probe.h"
#include "filesystem/usage.h"
#include "filesystem/write_back.h"
#include "mount/mount_point.h"
#include "mount/mounter.h"
#include "worker/device_mapper.h"
#include "worker/escrow.h"

namespace cryptvol::worker {
namespace {

using nlohmann::json;

// A call's outcome as JSON: nothing for a Status, the value for a StatusOr.
absl::StatusOr<json> Answer(const absl::Status& status) {
  if (!status.ok()) return status;
  return json();
}

template <typename T>
absl::StatusOr<json> Answer(const absl::StatusOr<T>& result) {
  if (!result.ok()) return result.status();
  return json(*result);
}

absl::StatusOr<json> Answer(const absl::StatusOr<std::optional<volume::MappingReport>>& result) {
  if (!result.ok()) return result.status();
  return result->has_value() ? json(**result) : json();
}

absl::StatusOr<bool> DataReadsZero(const std::string& device, uint64_t offset) {
  CV_ASSIGN_OR_RETURN(block::OpenedDevice opened, block::OpenDevice(device));
  const uint64_t size = opened.report.size_bytes;
  if (offset >= size) return false;
  const uint64_t start = std::min(block::kBlankStartBytes, size - offset);
  CV_ASSIGN_OR_RETURN(bool zero, block::ReadsZero(opened.fd.get(), offset, start, device));
  if (!zero) return false;
  const uint64_t end = std::min(block::kBlankEndBytes, size - offset);
  return block::ReadsZero(opened.fd.get(), size - end, end, device);
}

absl::Status SyncDevice(const std::string& device) {
  CV_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(device, O_RDONLY));
  if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, "flush " + device);
  return absl::OkStatus();
}

}  // namespace

json Dispatcher::Handle(const Message& request) {
  // The one place that catches: nlohmann throws when an argument has the wrong type.
  try {
    auto result =
        Call(request.body.at("call").get<std::string>(), request.body.at("args"), request.secret);
    if (!result.ok()) return ErrorReply(result.status());
    return {{"result", *std::move(result)}};
  } catch (const json::exception& error) {
    return ErrorReply(Internal("the worker did not understand a request: {}", error.what()));
  }
}

absl::StatusOr<json> Dispatcher::Call(const std::string& name, const json& args,
                                      const SecretBytes& secret) {
  if (name == "describe_mapping") return Answer(DescribeMapping(args.get<std::string>()));
  if (name == "deactivate") return Answer(RemoveMapping(args.get<std::string>()));
  if (name == "probe_dm_crypt") return Answer(ProbeDmCrypt());
  if (name == "probe_filesystem") return Answer(filesystem::Probe(args.get<std::string>()));
  if (name == "data_reads_zero") {
    return Answer(
        DataReadsZero(args.at("device").get<std::string>(), args.at("offset").get<uint64_t>()));
  }
  if (name == "sync") return Answer(SyncDevice(args.get<std::string>()));
  if (name == "mount") return Answer(mount::MountFilesystem(args.get<mount::MountRequest>()));
  if (name == "bind") return Answer(mount::BindMount(args.get<mount::BindRequest>()));
  if (name == "write_back") {
    return Answer(filesystem::WriteBack(args.at("mount_point").get<std::string>(),
                                        args.at("device").get<std::string>()));
  }
  if (name == "unmount") return Answer(mount::Unmount(args.get<std::string>()));
  if (name == "get_usage") return Answer(filesystem::GetUsage(args.get<std::string>()));
  if (name.ends_with("_mount_point")) return CallMountPoint(name, args);
  return CallLuks(name, args, secret);
}

absl::StatusOr<json> Dispatcher::CallMountPoint(const std::string& name, const json& args) {
  if (name == "make_mount_point") {
    return Answer(mount::MakeMountPoint(args.at("path").get<std::string>(),
                                        args.at("directory").get<bool>()));
  }
  const std::string path = args.get<std::string>();
  if (name == "resolve_mount_point") return json(mount::ResolveMountPoint(path));
  if (name == "remove_mount_point") return Answer(mount::RemoveMountPoint(path));
  return Internal("the worker knows no call {}", name);
}

absl::StatusOr<json> Dispatcher::CallLuks(const std::string& name, const json& args,
                                          const SecretBytes& secret) {
  if (name == "inspect") return Answer(session_.Inspect(args.get<std::string>()));
  if (name == "unlock") return Answer(session_.Unlock(secret));
  if (name == "build_header") {
    return Answer(session_.BuildHeader(args.get<volume::HeaderPlan>(), secret));
  }
  if (name == "write_intent") {
    return Answer(session_.WriteIntent(args.at("intent").get<luks::Intent>(),
                                       args.at("may_be_torn").get<bool>()));
  }
  if (name == "clear_intent") return Answer(session_.ClearIntent());
  if (name == "commit_header") return Answer(session_.CommitHeader(args.get<bool>()));
  if (name == "activate") return Answer(session_.Activate(args.get<volume::ActivateOptions>()));
  if (name == "add_keyslot") {
    return Answer(session_.AddKeyslot(args.get<luks::FormatParameters>(), secret));
  }
  if (name == "destroy_keyslot") return Answer(session_.DestroyKeyslot(args.get<int>()));
  if (name == "set_recovery") {
    return Answer(session_.SetRecovery(args.get<std::vector<std::string>>()));
  }
  if (name == "escrow_header") {
    return Answer(session_.EscrowHeader(args.get<volume::EscrowRequest>()));
  }
  if (name == "remove_escrowed") {
    return Answer(RemoveEscrowed(args.at("directory").get<volume::EscrowDirectory>(),
                                 args.at("volume").get<std::string>()));
  }
  if (name == "save_header") return Answer(session_.SaveHeader(args.get<std::string>()));
  if (name == "load_header_file") return Answer(session_.LoadHeaderFile(args.get<std::string>()));
  if (name == "restore_header") return Answer(session_.RestoreHeader());
  if (name == "store_token") return Answer(session_.StoreToken(args.get<luks::VolumeToken>()));
  return Internal("the worker knows no call {}", name);
}

}  // namespace cryptvol::worker
