// The keys that a command line names: age's recipients and identities, minisign's keys.
#ifndef CRYPTVOL_CRYPTSNAP_KEYS_H_
#define CRYPTVOL_CRYPTSNAP_KEYS_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "age/plugin.h"
#include "age/recipient.h"
#include "base/secret_bytes.h"
#include "cryptsnap/passphrase.h"
#include "cryptsnap/plugin_terminal.h"
#include "minisign/keys.h"

namespace cryptvol::cryptsnap {

struct RecipientOptions {
  std::vector<std::string> recipients;       // -r
  std::vector<std::string> recipient_files;  // -R; "-": standard input

  bool empty() const { return recipients.empty() && recipient_files.empty(); }
};
void AddRecipientFlags(CLI::App& command, RecipientOptions& options);

struct IdentityOptions {
  std::vector<std::string> files;  // -i; "-": standard input
};
void AddIdentityFlags(CLI::App& command, IdentityOptions& options, const std::string& purpose);

void AddPassphraseFdFlag(CLI::App& command, int& fd);

// Makes a flag that can be given several times, with one value each.
CLI::Option* AddRepeatable(CLI::App& command, const std::string& flags,
                           std::vector<std::string>& values, const std::string& description);

// INVALID_ARGUMENT, as a usage error, when more than one of these means standard input.
absl::Status CheckOneStandardInput(const std::vector<std::vector<std::string>>& paths);

struct RecipientList {
  age::Recipients recipients;
  std::vector<std::string> texts;  // sorted
};

// Reads keys and keeps what they need: outlives all of them. Errors name the flag or file and are
// usage errors, but for a wrong passphrase and files that cannot be read; they never quote a key.
class KeyLoader {
 public:
  explicit KeyLoader(int passphrase_fd = -1);
  KeyLoader(const KeyLoader&) = delete;
  KeyLoader& operator=(const KeyLoader&) = delete;

  absl::StatusOr<RecipientList> LoadRecipients(const RecipientOptions& options);
  absl::StatusOr<age::Identities> LoadIdentities(const IdentityOptions& options);
  absl::StatusOr<age::Identities> LoadIdentityFile(const std::string& path);
  // The secret half of a minisign key pair; asks for its passphrase if it has one.
  absl::StatusOr<minisign::SecretKey> LoadSigningKey(const std::string& path);
  // A file, or the line of base64 itself.
  absl::StatusOr<std::vector<minisign::PublicKey>> LoadVerifyKeys(
      const std::vector<std::string>& texts);

  PassphraseReader& passphrase() { return passphrase_; }

 private:
  absl::StatusOr<age::Identities> ParseIdentities(std::string_view content,
                                                  const std::string& path);
  PassphraseReader passphrase_;
  PluginTerminal terminal_;
  age::PluginOptions plugins_;
};

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_KEYS_H_
