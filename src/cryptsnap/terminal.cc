#include "cryptsnap/terminal.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "base/status.h"
#include "cryptsnap/exit_status.h"

namespace cryptvol::cryptsnap {
namespace {

constexpr char kInterrupt = 3;   // ^C
constexpr char kEndOfFile = 4;   // ^D
constexpr char kBackspace = 8;   // ^H
constexpr char kEraseLine = 21;  // ^U
constexpr char kDelete = 127;

absl::Status Cancelled() {
  return MakeStatus(absl::StatusCode::kCancelled, "cancelled at the terminal");
}

absl::StatusOr<char> ReadCharacter(int fd) {
  char c = 0;
  const ssize_t got = TEMP_FAILURE_RETRY(::read(fd, &c, 1));
  if (got < 0) return ErrnoStatus(errno, "read from the terminal");
  if (got == 0) return Cancelled();
  return c;
}

// UTF-8: an erased character is a leading byte and those that follow it.
size_t WithoutLastCharacter(const SecretBytes& line, size_t size) {
  while (size > 0 && (line.data()[--size] & 0xc0) == 0x80) {
  }
  return size;
}

absl::StatusOr<size_t> ReadEdited(int fd, SecretBytes& line) {
  for (size_t size = 0;;) {
    CV_ASSIGN_OR_RETURN(const char c, ReadCharacter(fd));
    if (c == '\n' || c == '\r') return size;
    if (c == kInterrupt || (c == kEndOfFile && size == 0)) return Cancelled();
    if (c == kBackspace || c == kDelete) {
      size = WithoutLastCharacter(line, size);
    } else if (c == kEraseLine) {
      size = 0;
    } else if (c != kEndOfFile) {
      if (size == line.size()) return InvalidArgument("a line of more than {} bytes", size);
      line.data()[size++] = static_cast<uint8_t>(c);
    }
  }
}

}  // namespace

absl::StatusOr<Terminal> Terminal::Open() {
  UniqueFd fd(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (fd.valid()) return Terminal(std::move(fd));
  return FailedPrecondition("there is no terminal to ask at");
}

absl::Status Terminal::Print(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = TEMP_FAILURE_RETRY(::write(fd_.get(), text.data(), text.size()));
    if (written < 0) return ErrnoStatus(errno, "write to the terminal");
    text.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<SecretBytes> Terminal::AskSecret(std::string_view prompt) {
  termios before;
  if (::tcgetattr(fd_.get(), &before) != 0) return ErrnoStatus(errno, "switch the echo off");
  termios quiet = before;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | ISIG);
  quiet.c_cc[VMIN] = 1;
  quiet.c_cc[VTIME] = 0;
  if (::tcsetattr(fd_.get(), TCSAFLUSH, &quiet) != 0) {
    return ErrnoStatus(errno, "switch the echo off");
  }
  const auto restore = absl::MakeCleanup([&] {
    ::tcsetattr(fd_.get(), TCSAFLUSH, &before);
    (void)Print("\n");
  });
  CV_RETURN_IF_ERROR(Print(prompt));
  CV_ASSIGN_OR_RETURN(SecretBytes line, SecretBytes::Allocate(kMaxLineBytes));
  CV_ASSIGN_OR_RETURN(const size_t size, ReadEdited(fd_.get(), line));
  return SecretBytes::CopyOf(std::span<const uint8_t>(line.data(), size));
}

absl::StatusOr<std::string> Terminal::AskLine(std::string_view prompt) {
  CV_RETURN_IF_ERROR(Print(prompt));
  std::string line;
  while (line.size() < kMaxLineBytes) {
    CV_ASSIGN_OR_RETURN(const char c, ReadCharacter(fd_.get()));
    if (c == '\n') return line;
    line += c;
  }
  return InvalidArgument("a line of more than {} bytes", kMaxLineBytes);
}

}  // namespace cryptvol::cryptsnap
