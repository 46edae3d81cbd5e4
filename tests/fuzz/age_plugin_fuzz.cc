// Any bytes as what a plugin says, in either state machine: the conversation ends, and what it gives
// is a file key of the right size or sound stanzas.
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "age/plugin_session.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

class Answers : public PluginUi {
 public:
  absl::Status ShowMessage(const std::string&, const std::string& text) override {
    return Check(text);
  }
  absl::StatusOr<bool> Confirm(const std::string&, const std::string& text, const std::string& yes,
                               const std::optional<std::string>& no) override {
    CV_RETURN_IF_ERROR(Check(text));
    CV_RETURN_IF_ERROR(Check(yes));
    return no.has_value();
  }
  absl::StatusOr<std::string> RequestPublic(const std::string&, const std::string& text) override {
    CV_RETURN_IF_ERROR(Check(text));
    return text;
  }
  absl::StatusOr<SecretBytes> RequestSecret(const std::string&, const std::string& text) override {
    return SecretBytes::CopyOf(text);
  }

 private:
  // Nothing reaches a terminal that moves its cursor.
  static absl::Status Check(const std::string& text) {
    for (const unsigned char c : text) Require((c >= 0x20 && c != 0x7f) || c == '\n');
    return absl::OkStatus();
  }
};

// Small inputs fit into a socket's buffer, and our few words into the other direction's.
constexpr size_t kMaxInput = 32 * 1024;

std::unique_ptr<PluginConnection> Connect(Bytes input, UniqueFd& far_end) {
  std::array<int, 2> fds;
  Require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) == 0);
  far_end.Reset(fds[1]);
  Require(::write(fds[1], input.data(), input.size()) == static_cast<ssize_t>(input.size()));
  ::shutdown(fds[1], SHUT_WR);
  UniqueFd output(::dup(fds[0]));
  return PluginConnection::Over(UniqueFd(fds[0]), std::move(output),
                                Deadline::After(std::chrono::milliseconds(200)));
}

void FuzzOne(Bytes input) {
  if (input.size() > kMaxInput) return;
  Answers ui;
  UniqueFd far_end;
  const SecretBytes secret = SecretBytes::CopyOf(std::string_view("0123456789abcdef")).value();
  const std::vector<Stanza> stanzas = {{"test", {}, {1}}};
  const auto unwrapped = UnwrapWithPlugin(*Connect(input, far_end), "fuzz", &ui, secret, stanzas);
  if (unwrapped.ok() && unwrapped->has_value()) Require((*unwrapped)->size() == kFileKeyBytes);
  const auto wrapped = WrapWithPlugin(*Connect(input, far_end), "fuzz", &ui, "age1fuzz1x", secret);
  if (!wrapped.ok()) return;
  Require(!wrapped->stanzas.empty());
  for (const Stanza& stanza : wrapped->stanzas) Require(CheckStanza(stanza).ok());
}

}  // namespace
}  // namespace cryptvol::age

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cryptvol::age::FuzzOne({data, size});
  return 0;
}
