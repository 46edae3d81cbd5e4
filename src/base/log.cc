#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/status.h"

namespace cryptvol {
namespace {

LogSettings g_settings;

spdlog::logger& Logger() {
  static spdlog::logger& logger = [&]() -> spdlog::logger& {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto& made = *new spdlog::logger("cryptvol", std::move(sink));
    made.set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    return made;
  }();
  return logger;
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

std::string Quote(std::string_view value) {
  return nlohmann::json(value).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void ConfigureLog(LogLevel level, LogFormat format) {
  g_settings = {level, format};
  Logger().set_level(ToSpdlog(level));
  if (format == LogFormat::kJson) {
    Logger().set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})",
                         spdlog::pattern_time_type::utc);
  }
}

LogSettings CurrentLogSettings() { return g_settings; }

absl::Status ParseLogLevel(const std::string& name, LogLevel& level) {
  for (auto [known, value] : {std::pair{"debug", LogLevel::kDebug},
                              {"info", LogLevel::kInfo},
                              {"warning", LogLevel::kWarning},
                              {"error", LogLevel::kError}}) {
    if (name != known) continue;
    level = value;
    return absl::OkStatus();
  }
  return InvalidArgument("unknown log level \"{}\": use debug, info, warning or error", name);
}

absl::Status ParseLogFormat(const std::string& name, LogFormat& format) {
  if (name != "text" && name != "json") {
    return InvalidArgument("unknown log format \"{}\": use text or json", name);
  }
  format = name == "json" ? LogFormat::kJson : LogFormat::kText;
  return absl::OkStatus();
}

std::string FormatLogLine(LogFormat format, std::string_view event, LogFields fields) {
  const bool json = format == LogFormat::kJson;
  std::string line = json ? "\"event\":" + Quote(event) : std::string(event);
  for (const auto& [name, value] : fields) {
    line += json ? fmt::format(",{}:{}", Quote(name), Quote(value))
                 : fmt::format(" {}={}", name, Quote(value));
  }
  return line;
}

void Log(LogLevel level, std::string_view event, LogFields fields) {
  const auto spdlog_level = ToSpdlog(level);
  if (!Logger().should_log(spdlog_level)) return;
  Logger().log(spdlog_level, FormatLogLine(g_settings.format, event, fields));
}

}  // namespace cryptvol
