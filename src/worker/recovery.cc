#include "worker/recovery.h"

#include "age/file.h"
#include "age/x25519.h"
#include "base/memory_stream.h"
#include "base/status.h"
#include "keys/volume_secret.h"

namespace cryptvol::worker {
absl::StatusOr<age::Recipients> ParseNativeRecipients(const std::vector<std::string>& recipients) {
  age::Recipients parsed;
  for (const std::string& text : recipients) {
    CV_ASSIGN_OR_RETURN(auto recipient, age::X25519Recipient::Parse(text));
    parsed.push_back(std::move(recipient));
  }
  return parsed;
}

absl::StatusOr<RecoveryPassphrase> MakeRecoveryPassphrase(
    const std::vector<std::string>& recipients) {
  CV_ASSIGN_OR_RETURN(const age::Recipients parsed, ParseNativeRecipients(recipients));
  RecoveryPassphrase made;
  CV_ASSIGN_OR_RETURN(made.passphrase, keys::GeneratePassphrase());
  MemorySource plaintext(made.passphrase.span());
  StringSink sink;
  age::EncryptOptions options;
  options.armor = true;
  options.threads = 1;
  CV_RETURN_IF_ERROR(age::EncryptToRecipients(plaintext, parsed, options, sink));
  made.age_file = sink.text();
  return made;
}

}  // namespace cryptvol::worker
