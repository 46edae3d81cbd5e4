#include "cryptsnap/passphrase.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "age/scrypt.h"
#include "base/status.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/terminal.h"

namespace cryptvol::cryptsnap {
namespace {

// Byte by byte: what follows the line belongs to others.
absl::StatusOr<size_t> ReadLine(int fd, SecretBytes& line) {
  size_t size = 0;
  while (true) {
    uint8_t c = 0;
    const ssize_t got = TEMP_FAILURE_RETRY(::read(fd, &c, 1));
    if (got < 0) {
      return UsageError(
          fmt::format("read the passphrase from file descriptor {}: {}", fd, ErrnoName(errno)),
          "in a shell: cryptsnap ... --passphrase-fd=3 3<FILE");
    }
    if (got == 0 || c == '\n') return size;
    if (size == line.size()) {
      return UsageError(fmt::format("the passphrase has more than {} bytes", line.size()));
    }
    line.data()[size++] = c;
  }
}

}  // namespace

// The producer of `save -- COMMAND` must not find it, whether it was read by then or not. One that is
// not open is told when it is read.
PassphraseReader::PassphraseReader(int fd) : fd_(fd) {
  if (fd_ >= 0) ::fcntl(fd_, F_SETFD, FD_CLOEXEC);
}

absl::StatusOr<SecretBytes> PassphraseReader::FromDescriptor() {
  if (line_.empty()) {
    CV_ASSIGN_OR_RETURN(SecretBytes buffer, SecretBytes::Allocate(kMaxLineBytes));
    CV_ASSIGN_OR_RETURN(size_t size, ReadLine(fd_, buffer));
    if (size > 0 && buffer.data()[size - 1] == '\r') --size;
    if (size == 0) return UsageError("the passphrase is empty");
    CV_ASSIGN_OR_RETURN(line_, SecretBytes::CopyOf(std::span<const uint8_t>(buffer.data(), size)));
  }
  return line_.Clone();
}

absl::StatusOr<SecretBytes> PassphraseReader::FromTerminal(const std::string& prompt) {
  absl::StatusOr<Terminal> terminal = Terminal::Open();
  if (!terminal.ok()) {
    return UsageError("ask for the passphrase: " + Message(terminal.status()),
                      "give it on a file descriptor: --passphrase-fd=3 3<FILE");
  }
  CV_ASSIGN_OR_RETURN(SecretBytes line, terminal->AskSecret(prompt));
  if (line.empty()) return UsageError("the passphrase is empty");
  return line;
}

absl::StatusOr<SecretBytes> PassphraseReader::ToOpen(const std::string& what) {
  if (fd_ >= 0) return FromDescriptor();
  return FromTerminal(fmt::format("Passphrase {}: ", EscapeForeign(what)));
}

absl::StatusOr<SecretBytes> PassphraseReader::ToProtect(const std::string& what) {
  if (fd_ >= 0) return FromDescriptor();
  CV_ASSIGN_OR_RETURN(SecretBytes first,
                      FromTerminal(fmt::format("New passphrase {}: ", EscapeForeign(what))));
  CV_ASSIGN_OR_RETURN(const SecretBytes second, FromTerminal("The same again: "));
  if (!first.Equals(second)) return UsageError("the two passphrases differ");
  return first;
}

absl::StatusOr<std::optional<SecretBytes>> AskingIdentity::Unwrap(
    std::span<const age::Stanza> stanzas) {
  if (stanzas.size() != 1 || stanzas.front().type != age::kScryptType) return std::nullopt;
  CV_ASSIGN_OR_RETURN(SecretBytes passphrase, reader_.ToOpen(what_));
  CV_ASSIGN_OR_RETURN(const auto identity, age::ScryptIdentity::New(std::move(passphrase)));
  return identity->Unwrap(stanzas);
}

}  // namespace cryptvol::cryptsnap
