#include "csi/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <string_view>

#include "base/sha256.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "volume/recovery_recipients.h"

namespace cryptvol::driver {
namespace {

constexpr std::string_view kUnixScheme = "unix://";
constexpr size_t kMaxSocketPath = 107;  // sun_path without its NUL
constexpr size_t kMaxDriverName = 63;   // CSI: GetPluginInfo
constexpr size_t kMaxNodeId = 63;       // of a label's value: the node's topology is one
constexpr uint64_t kLeastBudget = uint64_t{16} << 20;

bool IsAlphanumeric(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

absl::Status CheckDriverName(const std::string& name) {
  const bool valid = name.size() >= 2 && name.size() <= kMaxDriverName &&
                     std::isalpha(static_cast<unsigned char>(name.front())) != 0 &&
                     std::isalpha(static_cast<unsigned char>(name.back())) != 0 &&
                     std::ranges::all_of(name, [](char c) {
                       return IsAlphanumeric(c) || c == '-' || c == '.' || c == '_';
                     });
  if (valid) return absl::OkStatus();
  return InvalidArgument(
      "--driver-name={}: takes 2 to 63 letters, digits, '-', '.' and '_', with a letter first and "
      "last",
      name);
}

absl::Status CheckNodeId(const std::string& id) {
  const bool valid = !id.empty() && id.size() <= kMaxNodeId && IsAlphanumeric(id.front()) &&
                     IsAlphanumeric(id.back()) && std::ranges::all_of(id, [](char c) {
                       return IsAlphanumeric(c) || c == '-' || c == '.' || c == '_';
                     });
  if (valid) return absl::OkStatus();
  return InvalidArgument(
      "--node-id={}: takes this node's name in the cluster, as the value of a label: at most {} "
      "letters, digits, '-', '.' and '_', with a letter or digit first and last",
      id, kMaxNodeId);
}

absl::Status ParseEndpoint(Options& options) {
  std::string_view endpoint = options.endpoint;
  if (!endpoint.starts_with(kUnixScheme)) {
    return InvalidArgument("--endpoint={}: takes unix:///ABSOLUTE/PATH", options.endpoint);
  }
  endpoint.remove_prefix(kUnixScheme.size());
  if (endpoint.empty() || endpoint.front() != '/' || endpoint.size() > kMaxSocketPath) {
    return InvalidArgument("--endpoint={}: takes an absolute path of at most {} bytes",
                           options.endpoint, kMaxSocketPath);
  }
  options.socket_path = std::string(endpoint);
  return absl::OkStatus();
}

absl::Status CheckDirectory(const std::string& flag, const std::string& path, bool may_be_empty) {
  if (path.empty() ? may_be_empty : path.front() == '/') return absl::OkStatus();
  return InvalidArgument("{}={}: takes an absolute path", flag, path);
}

}  // namespace

absl::StatusOr<volume::HeaderEscrow> OpenEscrow(const Options& options) {
  volume::HeaderEscrow escrow;
  if (options.header_escrow.empty()) return escrow;
  if (options.header_escrow.front() != '/' || options.header_escrow_recipients.empty()) {
    return InvalidArgument(
        "--header-escrow={}: takes an absolute directory, and --header-escrow-recipients=FILE with "
        "the age recipients that can read what is saved there",
        options.header_escrow);
  }
  CV_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(options.header_escrow_recipients));
  auto recipients = volume::ParseRecoveryRecipients(text);
  if (!recipients.ok()) {
    return Annotate(recipients.status(),
                    "--header-escrow-recipients=" + options.header_escrow_recipients);
  }
  escrow.directory = {.path = options.header_escrow,
                      .identity_file = fmt::format("{}/escrows/{}.id", options.state_dir,
                                                   Hex(Sha256(options.header_escrow)))};
  escrow.recipients = *std::move(recipients);
  return escrow;
}

std::string KdfLedgerPath(const Options& options) { return options.state_dir + "/kdf.lock"; }

absl::StatusOr<uint64_t> ParseSize(const std::string& text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, value);
  const std::string_view unit(stop, static_cast<size_t>(end - stop));
  int shift = -1;
  if (unit.empty()) shift = 0;
  if (unit == "KiB" || unit == "Ki") shift = 10;
  if (unit == "MiB" || unit == "Mi") shift = 20;
  if (unit == "GiB" || unit == "Gi") shift = 30;
  if (error != std::errc() || shift < 0 ||
      value > (std::numeric_limits<uint64_t>::max() >> shift)) {
    return InvalidArgument("{}: takes a size such as 256MiB or 1GiB", text);
  }
  return value << shift;
}

absl::Status ValidateOptions(Options& options) {
  CV_RETURN_IF_ERROR(ParseEndpoint(options));
  CV_RETURN_IF_ERROR(CheckDriverName(options.driver_name));
  CV_RETURN_IF_ERROR(CheckNodeId(options.node_id));
  CV_RETURN_IF_ERROR(CheckDirectory("--state-dir", options.state_dir, false));
  CV_RETURN_IF_ERROR(
      CheckDirectory("--kubelet-registration-dir", options.kubelet_registration_dir, true));
  CV_RETURN_IF_ERROR(CheckDirectory("--kubelet-endpoint", options.kubelet_endpoint, true));
  auto budget = ParseSize(options.kdf_memory_budget);
  if (!budget.ok()) return Annotate(budget.status(), "--kdf-memory-budget");
  if (*budget < kLeastBudget) {
    return InvalidArgument("--kdf-memory-budget={}: takes at least {} bytes",
                           options.kdf_memory_budget, kLeastBudget);
  }
  options.kdf_memory_bytes = *budget;
  CV_RETURN_IF_ERROR(Annotate(ParseLogLevel(options.log_level, options.level), "--log-level"));
  return Annotate(ParseLogFormat(options.log_format, options.format), "--log-format");
}

}  // namespace cryptvol::driver
