#include "cryptsnap/metrics_file.h"

#include <array>

#include "age/primitives.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "cryptsnap/output.h"

namespace cryptvol::cryptsnap {
namespace {

struct Metric {
  const char* name;
  const char* help;
  bool of_success;  // kept after a failure
  double value;
};

std::array<Metric, 6> MetricsOf(const SaveMetrics& metrics) {
  return {{{"cryptsnap_last_success_timestamp_seconds", "When the last successful save ended.",
            true, static_cast<double>(metrics.time)},
           {"cryptsnap_last_success_duration_seconds", "How long the last successful save took.",
            true, metrics.duration_seconds},
           {"cryptsnap_last_success_content_bytes", "What the last successful save read.", true,
            static_cast<double>(metrics.content_bytes)},
           {"cryptsnap_last_success_payload_bytes", "What the last successful save wrote.", true,
            static_cast<double>(metrics.payload_bytes)},
           {"cryptsnap_last_attempt_timestamp_seconds", "When the last save ended, well or not.",
            false, static_cast<double>(metrics.time)},
           {"cryptsnap_last_attempt_succeeded", "1 when the last save succeeded, else 0.", false,
            metrics.succeeded ? 1.0 : 0.0}}};
}

// The sample of that name and these labels; empty: none.
std::string OldSample(const std::string& before, const std::string& series) {
  size_t at = before.starts_with(series + " ") ? 0 : before.find("\n" + series + " ");
  if (at == std::string::npos) return {};
  if (before[at] == '\n') ++at;
  return before.substr(at, before.find('\n', at) - at);
}

}  // namespace

std::string MetricsText(const SaveMetrics& metrics, const std::string& before) {
  std::string text;
  for (const Metric& metric : MetricsOf(metrics)) {
    const std::string series =
        fmt::format("{}{{cluster=\"{}\",kind=\"{}\"}}", metric.name, metrics.cluster, metrics.kind);
    const bool keep = metric.of_success && !metrics.succeeded;
    const std::string sample =
        keep ? OldSample(before, series) : fmt::format("{} {}", series, metric.value);
    if (sample.empty()) continue;
    text +=
        fmt::format("# HELP {0} {1}\n# TYPE {0} gauge\n{2}\n", metric.name, metric.help, sample);
  }
  return text;
}

absl::Status WriteMetrics(const std::string& path, const SaveMetrics& metrics) {
  const auto before = ReadSmallFile(path);
  Output output(path, 0644);
  const std::string text = MetricsText(metrics, before.ok() ? *before : "");
  CV_RETURN_IF_ERROR(output.Write(AsBytes(text)));
  return output.Commit();
}

}  // namespace cryptvol::cryptsnap
