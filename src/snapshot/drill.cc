#include "snapshot/drill.h"

#include <optional>
#include <utility>

#include "base/status.h"
#include "snapshot/payload.h"

namespace cryptvol::snapshot {
namespace {

absl::Status TryIdentity(Payload& payload, age::Identity& identity) {
  CV_RETURN_IF_ERROR(age::CheckStanzas(payload.start().header.stanzas));
  CV_ASSIGN_OR_RETURN(const std::optional<SecretBytes> file_key,
                      identity.Unwrap(payload.start().header.stanzas));
  if (!file_key) {
    return MakeStatus(absl::StatusCode::kUnauthenticated,
                      "{}: this identity does not open it: it is for other recipients, or its "
                      "header is damaged",
                      payload.backup().object);
  }
  CV_RETURN_IF_ERROR(payload.CheckHeader(*file_key));
  return payload.CheckEnds(*file_key);
}

bool IsOfTheTarget(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsPermissionDenied(status);
}

}  // namespace

absl::StatusOr<std::vector<DrilledBackup>> DrillIdentities(Target& target,
                                                           const std::vector<const Entry*>& entries,
                                                           const age::Identities& identities) {
  std::vector<DrilledBackup> drilled;
  for (const Entry* entry : entries) {
    DrilledBackup& backup = drilled.emplace_back();
    backup.entry = entry;
    absl::StatusOr<Payload> payload = Payload::Open(target, *entry);
    if (IsOfTheTarget(payload.status())) return payload.status();
    for (const auto& identity : identities) {
      backup.by_identity.push_back(payload.ok() ? TryIdentity(*payload, *identity)
                                                : payload.status());
    }
  }
  return drilled;
}

}  // namespace cryptvol::snapshot
