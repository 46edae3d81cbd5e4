#include "worker/crypt_log.h"

#include <libcryptsetup.h>

#include <utility>

#include "base/status.h"

namespace cryptvol::worker {
namespace {

// One thread, one process: see luks_session.h.
std::string& Collected() {
  static std::string& text = *new std::string();
  return text;
}

void Collect(int level, const char* message, void* /*unused*/) {
  if (level != CRYPT_LOG_ERROR || message == nullptr) return;
  std::string& text = Collected();
  if (text.size() > 2048) return;
  std::string_view line(message);
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.remove_suffix(1);
  if (line.empty()) return;
  if (!text.empty()) text += "; ";
  text += line;
}

}  // namespace

void CaptureCryptLog() { crypt_set_log_callback(nullptr, Collect, nullptr); }

std::string TakeCryptLog() { return std::exchange(Collected(), std::string()); }

absl::Status CryptStatus(int result, std::string_view context) {
  const std::string log = TakeCryptLog();
  if (result >= 0) return absl::OkStatus();
  if (log.empty()) return ErrnoStatus(-result, context);
  return ErrnoStatus(-result, fmt::format("{}: {}", context, log));
}

}  // namespace cryptvol::worker
