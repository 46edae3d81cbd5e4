// A file for the textfile collector of Prometheus' node_exporter.
#ifndef CRYPTVOL_CRYPTSNAP_METRICS_FILE_H_
#define CRYPTVOL_CRYPTSNAP_METRICS_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace cryptvol::cryptsnap {

struct SaveMetrics {
  std::string cluster;
  std::string kind;  // "etcd" or "stream"
  bool succeeded = false;
  int64_t time = 0;  // when it ended, in seconds since 1970
  double duration_seconds = 0;
  uint64_t content_bytes = 0;
  uint64_t payload_bytes = 0;
};

// The file's new content. Of `before`, its old content or nothing, it keeps the samples of other
// clusters and kinds, and after a failure what it says of the last success: zeros if there was none.
std::string MetricsText(const SaveMetrics& metrics, const std::string& before);

// Replaces the file, mode 0644: collectors run as others. Waits for others that write in its folder.
absl::Status WriteMetrics(const std::string& path, const SaveMetrics& metrics);

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_METRICS_FILE_H_
