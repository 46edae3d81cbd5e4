// The person at the terminal, whatever standard input and output are.
#ifndef CRYPTVOL_CRYPTSNAP_TERMINAL_H_
#define CRYPTVOL_CRYPTSNAP_TERMINAL_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/secret_bytes.h"
#include "base/unique_fd.h"

namespace cryptvol::cryptsnap {

inline constexpr size_t kMaxLineBytes = 1024;  // of a passphrase or an answer

class Terminal {
 public:
  // FAILED_PRECONDITION when this process has none.
  static absl::StatusOr<Terminal> Open();

  absl::Status Print(std::string_view text);

  // A line without its end. While it is typed nothing shows, and signals from the keyboard are held
  // back, so that the terminal is never left without its echo: ^C and ^D are CANCELLED.
  absl::StatusOr<SecretBytes> AskSecret(std::string_view prompt);
  // The same with echo, for what is public.
  absl::StatusOr<std::string> AskLine(std::string_view prompt);

 private:
  explicit Terminal(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_TERMINAL_H_
