// Where passphrases come from: the terminal, or a file descriptor.
#ifndef CRYPTVOL_CRYPTSNAP_PASSPHRASE_H_
#define CRYPTVOL_CRYPTSNAP_PASSPHRASE_H_

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "age/recipient.h"
#include "base/secret_bytes.h"

namespace cryptvol::cryptsnap {

class PassphraseReader {
 public:
  // `fd`: its first line is the passphrase, for whatever asks; from now on no program that is started
  // inherits it. Negative: the terminal.
  explicit PassphraseReader(int fd = -1);

  // `what` says what it opens: "for the file".
  absl::StatusOr<SecretBytes> ToOpen(const std::string& what);
  // Asks twice at a terminal.
  absl::StatusOr<SecretBytes> ToProtect(const std::string& what);

 private:
  absl::StatusOr<SecretBytes> FromDescriptor();
  absl::StatusOr<SecretBytes> FromTerminal(const std::string& prompt);

  int fd_;
  SecretBytes line_;  // what was read from fd_
};

// Opens files with a passphrase, and asks for it when it meets one. `reader` outlives it.
class AskingIdentity : public age::Identity {
 public:
  AskingIdentity(PassphraseReader& reader, std::string what)
      : reader_(reader), what_(std::move(what)) {}
  absl::StatusOr<std::optional<SecretBytes>> Unwrap(std::span<const age::Stanza> stanzas) override;

 private:
  PassphraseReader& reader_;
  const std::string what_;
};

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_PASSPHRASE_H_
