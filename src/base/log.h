// Structured log lines on standard error.
#ifndef CRYPTVOL_BASE_LOG_H_
#define CRYPTVOL_BASE_LOG_H_

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

namespace cryptvol {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// Once, before other threads start. Without it: kInfo, text.
void ConfigureLog(LogLevel level, LogFormat format);
struct LogSettings {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
};
LogSettings CurrentLogSettings();

// INVALID_ARGUMENT for unknown names.
absl::Status ParseLogLevel(const std::string& name, LogLevel& level);
absl::Status ParseLogFormat(const std::string& name, LogFormat& format);

// One line: time, level, `event`, and the fields in their order. Values are escaped, so that no
// foreign text can start a line or a field of its own. There is no way to pass SecretBytes.
// Thread-safe.
using LogFields = std::initializer_list<std::pair<std::string_view, std::string>>;
void Log(LogLevel level, std::string_view event, LogFields fields = {});

// The line's text without time and level, as Log writes it; for tests.
std::string FormatLogLine(LogFormat format, std::string_view event, LogFields fields);

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_LOG_H_
