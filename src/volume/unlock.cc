#include "volume/unlock.h"

#include <vector>

#include "absl/strings/str_join.h"
#include "base/status.h"

namespace cryptvol::volume {
namespace {

absl::Status NoKeyOpens(const std::string& device, const HeaderSummary& header,
                        const std::vector<std::string>& tried) {
  std::string hint = "check that the Secret is the one that the volume was made with";
  if (header.token.has_value() && !header.token->token.key_id.empty()) {
    hint = fmt::format("the volume was last opened with the key whose CRYPTO_KEY_ID is \"{}\"",
                       header.token->token.key_id);
  }
  return MakeStatus(absl::StatusCode::kUnauthenticated,
                    "no keyslot of {} (LUKS {}) opens with the key in the Secret ({}); {}. The "
                    "device was not changed",
                    device, header.uuid, absl::StrJoin(tried, ", "), hint);
}

constexpr std::chrono::seconds kInBackground(2);

}  // namespace

absl::StatusOr<KdfBudget::Grant> AcquireKdfMemory(const Environment& environment,
                                                  uint64_t kdf_bytes) {
  if (!environment.in_background) {
    return environment.kdf_budget->Acquire(kdf_bytes,
                                           Deadline::After(environment.limits.kdf_queue));
  }
  auto grant = environment.kdf_budget->Acquire(kdf_bytes, Deadline::After(kInBackground));
  if (!absl::IsDeadlineExceeded(grant.status())) return grant;
  return MakeStatus(absl::StatusCode::kAborted, "{}", Message(grant.status()));
}

absl::StatusOr<Unlocked> UnlockWithAnyKey(const Environment& environment, DeviceWorker& worker,
                                          const std::string& device, const HeaderSummary& header,
                                          const keys::VolumeSecret& secret) {
  const StepLimits& limits = environment.limits;
  CV_ASSIGN_OR_RETURN(KdfBudget::Grant grant,
                      AcquireKdfMemory(environment, header.kdf_memory_bytes));
  std::vector<const keys::Passphrase*> candidates = {&secret.current};
  for (const keys::Passphrase& previous : secret.previous) candidates.push_back(&previous);
  std::vector<std::string> tried;
  for (const keys::Passphrase* candidate : candidates) {
    const auto start = std::chrono::steady_clock::now();
    auto keyslot = worker.Unlock(candidate->bytes, Deadline::After(limits.unlock));
    environment.observer->UnlockTook(std::chrono::steady_clock::now() - start);
    if (keyslot.ok()) return Unlocked{*keyslot, candidate == &secret.current};
    if (keyslot.status().code() != absl::StatusCode::kUnauthenticated) return keyslot.status();
    tried.push_back(candidate->secret_key);
  }
  return NoKeyOpens(device, header, tried);
}

}  // namespace cryptvol::volume
