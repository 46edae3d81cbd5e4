#include <algorithm>
#include <string_view>

#include "base/status.h"
#include "filesystem/make_options.h"
#include "filesystem/tools.h"

namespace cryptvol::filesystem {
namespace {

// Our options first, so that the user's win. Those that mkfs.xfs would refuse to be told twice, or
// that contradict ours (-O ^metadata_csum), are left out where the user gives the same one.
//
// Nothing is discarded: the device was never written, so that it would cost time only.
class Arguments {
 public:
  explicit Arguments(std::vector<std::string> user_names) : user_names_(std::move(user_names)) {}

  Arguments& Add(std::initializer_list<std::string> words) {
    words_.insert(words_.end(), words);
    return *this;
  }
  Arguments& Default(const std::string& name, const std::string& value) {
    const bool given = std::find(user_names_.begin(), user_names_.end(), name) != user_names_.end();
    return given ? *this : Add({name, value});
  }
  std::vector<std::string> Finish(const MakeRequest& request) {
    words_.insert(words_.end(), request.user_options.begin(), request.user_options.end());
    words_.push_back(request.device);
    return std::move(words_);
  }

 private:
  std::vector<std::string> user_names_;
  std::vector<std::string> words_;
};

std::vector<std::string> ArgumentsFor(const MakeRequest& request,
                                      std::vector<std::string> user_names) {
  Arguments arguments(std::move(user_names));
  if (request.type == "xfs") {
    arguments.Add({"-f", "-q", "-K", "-m", "uuid=" + request.uuid});
    arguments.Default("-b", "size=4096").Default("-s", "size=4096");
  } else if (request.type == "btrfs") {
    arguments.Add({"-f", "-q", "-K", "-U", request.uuid, "-s", "4096"});
  } else {
    // metadata_csum_seed (Linux 4.4, e2fsprogs 1.43) makes a new UUID on a copy cheap. orphan_file,
    // which newer e2fsprogs turn on, would keep kernels before 5.15 and e2fsck before 1.47 from
    // opening it.
    arguments.Add({"-F", "-q", "-E", "nodiscard", "-U", request.uuid});
    arguments.Default("-b", "4096").Default("-O", "metadata_csum_seed,^orphan_file");
  }
  return arguments.Finish(request);
}

absl::Status Failed(const MakeRequest& request, CommandResult result) {
  // mkfs.xfs explains all of its options after the line that matters.
  result.err = result.err.substr(0, result.err.find("Usage:"));
  const std::string complaint = result.Complaint();
  const std::string what =
      fmt::format("make the {} filesystem on {}", request.type, request.device);
  if (complaint.find("Input/output error") != std::string::npos) {
    return MakeStatus(absl::StatusCode::kDataLoss, "{}: the device fails ({})", what, complaint);
  }
  if (result.signal == 0 && !request.user_options.empty()) {
    return InvalidArgument("{}: mkfs.{} refused the options \"{}\" ({}); correct mkfsOptions", what,
                           request.type, fmt::join(request.user_options, " "), complaint);
  }
  return Internal("{}: mkfs.{} failed ({})", what, request.type, complaint);
}

}  // namespace

absl::Status CheckSize(const std::string& type, const std::string& device, uint64_t device_bytes) {
  const uint64_t minimum = MinimumBytes(type);
  if (device_bytes >= minimum) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kOutOfRange,
                    "make the {} filesystem on {}: the device has {} bytes, {} needs at least {}; "
                    "ask for a larger volume",
                    type, device, device_bytes, type, minimum);
}

absl::Status CheckInstalled(const std::string& type) {
  const std::string program = "mkfs." + type;
  if (FindProgram(program).ok()) return absl::OkStatus();
  const std::string_view package = type == "xfs"     ? "xfsprogs"
                                   : type == "btrfs" ? "btrfs-progs"
                                                     : "e2fsprogs";
  return FailedPrecondition(
      "{} is not installed: install the Debian package {} in the driver's image", program, package);
}

absl::Status Make(const MakeRequest& request, Deadline deadline) {
  CV_ASSIGN_OR_RETURN(std::vector<std::string> names,
                      ParseMakeOptions(request.type, request.user_options));
  CV_RETURN_IF_ERROR(CheckInstalled(request.type));
  const Command mkfs = {.program = "mkfs." + request.type,
                        .args = ArgumentsFor(request, std::move(names)),
                        .inherit = request.inherit};
  CV_ASSIGN_OR_RETURN(CommandResult result, RunCommand(mkfs, deadline));
  return result.ok() ? absl::OkStatus() : Failed(request, std::move(result));
}

absl::Status CheckMade(const MakeRequest& request, const FilesystemReport& report) {
  if (report.type == request.type && report.uuid == request.uuid) return absl::OkStatus();
  return InvalidArgument(
      "make the {} filesystem on {}: the options \"{}\" gave {} instead; correct mkfsOptions",
      request.type, request.device, fmt::join(request.user_options, " "),
      report.type.empty() ? report.found
                          : fmt::format("{} with UUID {}", report.type, report.uuid));
}

}  // namespace cryptvol::filesystem
