#include "age/recipient.h"

#include <algorithm>

#include "age/scrypt.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

absl::Status IncompatibleLabels() {
  return InvalidArgument(
      "encrypt: these recipients cannot be mixed: a passphrase stands alone, and post-quantum "
      "recipients only beside their like, since any weaker one would open the file too");
}

absl::Status NoMatch(std::span<const Stanza> stanzas) {
  if (stanzas.front().type == kScryptType) {
    return MakeStatus(absl::StatusCode::kUnauthenticated,
                      "the file is encrypted with a passphrase, and none that was given opens it");
  }
  return MakeStatus(absl::StatusCode::kUnauthenticated,
                    "no identity matched any of the file's {} stanzas: it is encrypted to other "
                    "recipients, or its header is damaged",
                    stanzas.size());
}

}  // namespace

absl::StatusOr<std::vector<Stanza>> WrapForAll(const Recipients& recipients,
                                               const SecretBytes& file_key) {
  if (recipients.empty()) return InvalidArgument("encrypt: no recipient was given");
  std::vector<Stanza> stanzas;
  std::optional<std::set<std::string>> labels;
  for (const auto& recipient : recipients) {
    CV_ASSIGN_OR_RETURN(WrappedKey wrapped, recipient->Wrap(file_key));
    if (labels && *labels != wrapped.labels) return IncompatibleLabels();
    labels = std::move(wrapped.labels);
    std::ranges::move(wrapped.stanzas, std::back_inserter(stanzas));
  }
  return stanzas;
}

absl::StatusOr<SecretBytes> UnwrapFileKey(const FileStart& start, const Identities& identities) {
  const std::vector<Stanza>& stanzas = start.header.stanzas;
  CV_RETURN_IF_ERROR(CheckStanzas(stanzas));
  if (identities.empty()) return InvalidArgument("decrypt: no identity was given");
  absl::Status failure;
  for (const auto& identity : identities) {
    absl::StatusOr<std::optional<SecretBytes>> file_key = identity->Unwrap(stanzas);
    if (absl::IsInvalidArgument(file_key.status())) return file_key.status();
    if (!file_key.ok()) {
      // A plugin that fails does not keep the next identity from being tried.
      failure.Update(file_key.status());
    } else if (file_key->has_value()) {
      CV_RETURN_IF_ERROR(VerifyHeader(start, **file_key));
      return *std::move(*file_key);
    }
  }
  return failure.ok() ? NoMatch(stanzas) : failure;
}

}  // namespace cryptvol::age
