#include <string_view>

#include "base/status.h"
#include "filesystem/tools.h"

namespace cryptvol::filesystem {
namespace {

using Inherit = std::vector<std::pair<int, int>>;

// The exit status of e2fsck is a sum of these; see e2fsck(8).
constexpr int kCorrected = 1;
constexpr int kCorrectedMounted = 2;
constexpr int kUncorrected = 4;
constexpr int kOperational = 8;

bool Contains(const CommandResult& result, std::string_view text) {
  return result.err.find(text) != std::string::npos;
}

bool InUse(const CommandResult& result) {
  return Contains(result, " is in use") || Contains(result, " is mounted") ||
         Contains(result, " is currently mounted") || Contains(result, " contains a mounted");
}

absl::StatusOr<CommandResult> Run(const std::string& program, std::vector<std::string> args,
                                  const Inherit& inherit, Deadline deadline) {
  CV_ASSIGN_OR_RETURN(
      CommandResult result,
      RunCommand({.program = program, .args = std::move(args), .inherit = inherit}, deadline));
  // They explain themselves on both streams; messages show the end of one.
  result.err = result.out + result.err;
  return result;
}

absl::Status NeedsDecision(const std::string& device, const CommandResult& result) {
  return MakeStatus(
      absl::StatusCode::kDataLoss,
      "check the ext4 filesystem on {}: it is damaged in a way that needs a decision ({}); copy "
      "the device, then, with no pod using the volume, run by hand: e2fsck -f {}",
      device, result.Complaint(), device);
}

absl::Status NotChecked(const std::string& program, const std::string& device,
                        const CommandResult& result) {
  if (InUse(result)) {
    return FailedPrecondition("check the filesystem on {}: something uses the device ({})", device,
                              result.Complaint());
  }
  return Internal("check the filesystem on {}: {} failed ({})", device, program,
                  result.Complaint());
}

absl::StatusOr<bool> Ext4IsWhole(const std::string& device, const Inherit& inherit,
                                 Deadline deadline) {
  CV_ASSIGN_OR_RETURN(const CommandResult result,
                      Run("e2fsck", {"-f", "-n", device}, inherit, deadline));
  if (result.ok()) return true;
  // It adds kOperational when it gives up in the middle of what it found.
  if (result.signal == 0 && (result.exit_status & kUncorrected) != 0) return false;
  return NotChecked("e2fsck", device, result);
}

// Both tools answer 1 for damage and for most of their own failures.
absl::StatusOr<bool> IsWholeBy(const std::string& program, std::vector<std::string> args,
                               const std::string& device, const Inherit& inherit,
                               Deadline deadline) {
  args.push_back(device);
  CV_ASSIGN_OR_RETURN(const CommandResult result, Run(program, std::move(args), inherit, deadline));
  if (result.ok()) return true;
  if (result.exit_status == 1 && !InUse(result) && !Contains(result, "fatal error")) {
    return false;
  }
  return NotChecked(program, device, result);
}

}  // namespace

absl::StatusOr<CheckOutcome> Check(const std::string& type, const std::string& device,
                                   const Inherit& inherit, Deadline deadline) {
  if (type != "ext4") return CheckOutcome::kNotNeeded;
  CV_ASSIGN_OR_RETURN(const CommandResult result, Run("e2fsck", {"-p", device}, inherit, deadline));
  if (result.signal == 0 && (result.exit_status & ~(kCorrected | kCorrectedMounted)) == 0) {
    return CheckOutcome::kClean;
  }
  if (result.signal == 0) {
    const bool superblock = (result.exit_status & kOperational) != 0 &&
                            Contains(result, "superblock could not be read");
    if ((result.exit_status & kUncorrected) != 0 || superblock)
      return NeedsDecision(device, result);
  }
  return NotChecked("e2fsck", device, result);
}

absl::StatusOr<bool> IsWhole(const std::string& type, const std::string& device,
                             const Inherit& inherit, Deadline deadline) {
  if (type == "xfs") return IsWholeBy("xfs_repair", {"-n"}, device, inherit, deadline);
  if (type == "btrfs")
    return IsWholeBy("btrfs", {"check", "--readonly"}, device, inherit, deadline);
  return Ext4IsWhole(device, inherit, deadline);
}

}  // namespace cryptvol::filesystem
