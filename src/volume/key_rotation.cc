#include "volume/key_rotation.h"

#include <algorithm>

#include "base/log.h"
#include "base/status.h"
#include "volume/decisions.h"

namespace cryptvol::volume {
namespace {

class Rotation {
 public:
  Rotation(const Environment& environment, DeviceWorker& worker, const std::string& volume_id,
           const keys::VolumeSecret& secret, const HeaderSummary& header)
      : env_(environment),
        worker_(worker),
        volume_id_(volume_id),
        secret_(secret),
        header_(header),
        kdf_bytes_(header.kdf_memory_bytes) {}

  // Gives the volume a keyslot for the current key, and destroys the one that a previous key opened.
  absl::Status Replace(const luks::FormatParameters& parameters, int old_keyslot) {
    kdf_bytes_ = std::max(kdf_bytes_, parameters.kdf_memory_bytes());
    CV_ASSIGN_OR_RETURN(current_keyslot_, Add(parameters));
    CV_RETURN_IF_ERROR(StoreKeyId());
    return Destroy(old_keyslot);
  }

  // Keyslots that other previous keys open, such as those of an earlier rotation that a crash cut
  // short.
  absl::Status DestroyOthers() {
    for (const keys::Passphrase& previous : secret_.previous) {
      if (!previous.bytes.Equals(secret_.current.bytes)) CV_RETURN_IF_ERROR(DestroyAllOf(previous));
    }
    return absl::OkStatus();
  }

  // The current key opened the volume, perhaps for the first time since a crash.
  absl::Status StoreKeyId() {
    if (header_.version != 2 || !header_.token.has_value() ||
        header_.token->token.key_id == secret_.key_id) {
      return absl::OkStatus();
    }
    luks::VolumeToken token = header_.token->token;
    token.key_id = secret_.key_id;
    return worker_.StoreToken(token, After(env_.limits.write));
  }

  void set_current_keyslot(int keyslot) { current_keyslot_ = keyslot; }
  bool changed() const { return destroyed_ > 0; }

 private:
  Deadline After(std::chrono::milliseconds limit) const { return Deadline::After(limit); }

  absl::StatusOr<KdfBudget::Grant> Budget(uint64_t bytes) { return AcquireKdfMemory(env_, bytes); }

  // Both give the memory back when they return: what follows writes to the device, which may hang.
  absl::StatusOr<int> Add(const luks::FormatParameters& parameters) {
    CV_ASSIGN_OR_RETURN(KdfBudget::Grant grant, Budget(parameters.kdf_memory_bytes()));
    return worker_.AddKeyslot(parameters, secret_.current.bytes, After(2 * env_.limits.unlock));
  }
  absl::StatusOr<int> Unlock(const keys::Passphrase& passphrase) {
    CV_ASSIGN_OR_RETURN(KdfBudget::Grant grant, Budget(kdf_bytes_));
    return worker_.Unlock(passphrase.bytes, After(env_.limits.unlock));
  }

  // Somebody may have given the same key a second keyslot: until it opens none.
  absl::Status DestroyAllOf(const keys::Passphrase& previous) {
    while (true) {
      const auto keyslot = Unlock(previous);
      if (keyslot.status().code() == absl::StatusCode::kUnauthenticated) return absl::OkStatus();
      CV_RETURN_IF_ERROR(keyslot);
      if (*keyslot == current_keyslot_) return absl::OkStatus();
      CV_RETURN_IF_ERROR(Destroy(*keyslot));
    }
  }

  absl::Status Destroy(int keyslot) {
    CV_RETURN_IF_ERROR(worker_.DestroyKeyslot(keyslot, After(env_.limits.write)));
    ++destroyed_;
    Log(LogLevel::kInfo, "destroyed the keyslot of a previous key",
        {{"volume", volume_id_},
         {"luks_uuid", header_.uuid},
         {"keyslot", std::to_string(keyslot)},
         {"current_keyslot", std::to_string(current_keyslot_)}});
    return absl::OkStatus();
  }

  const Environment& env_;
  DeviceWorker& worker_;
  const std::string& volume_id_;
  const keys::VolumeSecret& secret_;
  const HeaderSummary& header_;
  uint64_t kdf_bytes_;  // that trying every keyslot takes, a new one's included
  int current_keyslot_ = 0;
  int destroyed_ = 0;
};

// With one keyslot, there is none that a previous key could open; nor does one open a recovery
// keyslot.
bool MayOpenToPrevious(const HeaderSummary& header) {
  return std::ranges::count_if(header.keyslots, [&](int keyslot) {
           return !luks::IsRecoveryKeyslot(header.recovery, keyslot);
         }) > 1;
}

}  // namespace

absl::StatusOr<RotationResult> RotateKeys(const Environment& environment, DeviceWorker& worker,
                                          const std::string& volume_id,
                                          const VolumeOptions& options,
                                          const keys::VolumeSecret& secret,
                                          const HeaderSummary& header, const Unlocked& unlocked) {
  Rotation rotation(environment, worker, volume_id, secret, header);
  if (unlocked.with_current) {
    rotation.set_current_keyslot(unlocked.keyslot);
    CV_RETURN_IF_ERROR(rotation.StoreKeyId());
  } else {
    CV_ASSIGN_OR_RETURN(
        const luks::FormatParameters parameters,
        luks::ResolveFormatParameters(options.format, secret.format, secret.random));
    CV_RETURN_IF_ERROR(rotation.Replace(parameters, unlocked.keyslot));
  }
  if (MayOpenToPrevious(header)) CV_RETURN_IF_ERROR(rotation.DestroyOthers());
  return rotation.changed() ? RotationResult::kRotated : RotationResult::kUnchanged;
}

absl::StatusOr<RotationResult> RotateStaged(const Environment& foreground,
                                            const RotateRequest& request,
                                            std::shared_ptr<OperationLock> lock) {
  Environment environment = foreground;
  environment.in_background = true;
  const StepLimits& limits = environment.limits;
  CV_ASSIGN_OR_RETURN(auto storage, environment.storage->Open(request.volume_id, request.options));
  auto worker = environment.workers->New(std::move(lock));
  // It may have been unstaged since it was published, and its device be another node's now.
  CV_ASSIGN_OR_RETURN(
      const std::optional<MappingReport> mapping,
      worker->DescribeMapping(MappingName(environment.driver_name, request.volume_id),
                              Deadline::After(limits.map)));
  if (!mapping.has_value()) return FailedPrecondition("the volume is not staged on this node");
  CV_ASSIGN_OR_RETURN(const std::string device, storage->Attach(/*read_only=*/false));
  CV_ASSIGN_OR_RETURN(const Inspection inspection,
                      worker->Inspect(device, Deadline::After(limits.inspect)));
  if (mapping->backing != inspection.device.number) {
    return FailedPrecondition("the volume is staged from another device than {}", device);
  }
  if (!inspection.header.has_value()) {
    return Annotate(inspection.header_error, "its header is not changed");
  }
  if (inspection.device.read_only) return FailedPrecondition("{} is read-only", device);
  CV_RETURN_IF_ERROR(
      CheckToken(request.volume_id, request.options.adopt_volume_id, *inspection.header));
  CV_ASSIGN_OR_RETURN(
      const Unlocked unlocked,
      UnlockWithAnyKey(environment, *worker, device, *inspection.header, request.secret));
  auto result = RotateKeys(environment, *worker, request.volume_id, request.options, request.secret,
                           *inspection.header, unlocked);
  // After a failure too: it may have added a keyslot.
  KeepHeader(environment, device, request.volume_id);
  return result;
}

void ReportRotation(const Environment& environment, const std::string& volume_id,
                    const absl::StatusOr<RotationResult>& result) {
  if (!result.ok()) {
    Log(LogLevel::kWarning, "the volume's keyslots could not be brought in line with its Secret",
        {{"volume", volume_id}, {"error", Message(result.status())}});
    return environment.observer->RotationEnded("failed");
  }
  environment.observer->RotationEnded(*result == RotationResult::kRotated ? "rotated"
                                                                          : "unchanged");
}

}  // namespace cryptvol::volume
