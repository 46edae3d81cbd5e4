#include "cryptsnap/metrics_file.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <string_view>
#include <system_error>

#include "age/primitives.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "cryptsnap/output.h"
#include "snapshot/folder_lock.h"

namespace cryptvol::cryptsnap {
namespace {

struct Metric {
  const char* name;
  const char* help;
  bool of_success;  // kept after a failure
  double value;
};

std::array<Metric, 6> MetricsOf(const SaveMetrics& metrics) {
  return {
      {{"cryptsnap_last_success_timestamp_seconds",
        "When the last successful save ended; 0: never.", true, static_cast<double>(metrics.time)},
       {"cryptsnap_last_success_duration_seconds", "How long the last successful save took.", true,
        metrics.duration_seconds},
       {"cryptsnap_last_success_content_bytes", "What the last successful save read.", true,
        static_cast<double>(metrics.content_bytes)},
       {"cryptsnap_last_success_payload_bytes", "What the last successful save wrote.", true,
        static_cast<double>(metrics.payload_bytes)},
       {"cryptsnap_last_attempt_timestamp_seconds", "When the last save ended, well or not.", false,
        static_cast<double>(metrics.time)},
       {"cryptsnap_last_attempt_succeeded", "1 when the last save succeeded, else 0.", false,
        metrics.succeeded ? 1.0 : 0.0}}};
}

// What `text` has of that metric, each with its end of line: by series (name and labels).
std::map<std::string, std::string> SamplesOf(std::string_view name, std::string_view text) {
  std::map<std::string, std::string> samples;
  const std::string begin = fmt::format("{}{{", name);
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const size_t value = line.rfind("} ");
    if (line.starts_with(begin) && value != std::string_view::npos) {
      samples[std::string(line.substr(0, value + 1))] = fmt::format("{}\n", line);
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return samples;
}

std::string TextOf(const Metric& metric, const SaveMetrics& metrics, std::string_view before) {
  auto samples = SamplesOf(metric.name, before);
  const std::string series =
      fmt::format("{}{{cluster=\"{}\",kind=\"{}\"}}", metric.name, metrics.cluster, metrics.kind);
  if (metrics.succeeded || !metric.of_success) {
    samples[series] = fmt::format("{} {}\n", series, metric.value);
  } else {
    // Zeros where there never was a success: alerts on its age find nothing wrong in nothing.
    samples.try_emplace(series, series + " 0\n");
  }
  std::string text = fmt::format("# HELP {0} {1}\n# TYPE {0} gauge\n", metric.name, metric.help);
  for (const auto& [ignored, sample] : samples) text += sample;
  return text;
}

// Nothing when there is no such file yet, or when it is a pipe or device, from which no byte may
// ever come.
absl::StatusOr<std::string> OldText(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) return "";
  auto text = ReadSmallFile(path);
  if (absl::IsNotFound(text.status())) return "";
  return text;
}

}  // namespace

std::string MetricsText(const SaveMetrics& metrics, const std::string& before) {
  std::string text;
  for (const Metric& metric : MetricsOf(metrics)) text += TextOf(metric, metrics, before);
  return text;
}

absl::Status WriteMetrics(const std::string& path, const SaveMetrics& metrics) {
  CV_ASSIGN_OR_RETURN(const UniqueFd lock, snapshot::LockFolderOf(path));
  CV_ASSIGN_OR_RETURN(const std::string before, OldText(path));
  Output output(path, 0644);
  const std::string text = MetricsText(metrics, before);
  CV_RETURN_IF_ERROR(output.Write(AsBytes(text)));
  return output.Commit();
}

}  // namespace cryptvol::cryptsnap
