#include "etcd/member_choice.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "base/status.h"

namespace cryptvol::etcd {
namespace {

using Code = absl::StatusCode;

uint64_t HighestCommitted(const std::vector<EndpointReport>& reports) {
  uint64_t highest = 0;
  for (const EndpointReport& report : reports) {
    highest = std::max({highest, report.raft_committed, report.raft_applied});
  }
  return highest;
}

// Why a snapshot of it might not be what the user wants. OK: nothing is wrong.
absl::Status Objection(const EndpointReport& report, const Alarms& alarms, uint64_t committed) {
  if (!report.unreachable.ok()) return report.unreachable;
  if (!alarms.corrupt.empty()) {
    return MakeStatus(Code::kDataLoss,
                      "{}: the cluster has the alarm CORRUPT: its members' data differ; see "
                      "`etcdctl alarm list`",
                      report.endpoint);
  }
  if (report.is_learner) {
    return FailedPrecondition("{}: it is a learner, which may lack any of the latest changes",
                              report.endpoint);
  }
  if (!report.has_leader) {
    return MakeStatus(Code::kUnavailable,
                      "{}: the member knows no leader: the cluster has lost its quorum, or the "
                      "member the cluster",
                      report.endpoint);
  }
  if (!report.not_linearizable.ok()) return report.not_linearizable;
  if (committed - report.raft_applied > kMaxRaftLag) {
    return MakeStatus(Code::kUnavailable, "{}: it is {} entries of Raft's log behind",
                      report.endpoint, committed - report.raft_applied);
  }
  return absl::OkStatus();
}

absl::Status CheckOneCluster(const std::vector<EndpointReport>& reports) {
  const EndpointReport* first = nullptr;
  for (const EndpointReport& report : reports) {
    if (!report.unreachable.ok()) continue;
    if (first == nullptr) first = &report;
    if (report.cluster_id == first->cluster_id) continue;
    return FailedPrecondition(
        "choose a member: {} and {} belong to different clusters ({:x} and {:x}); give the "
        "endpoints of one",
        first->endpoint, report.endpoint, first->cluster_id, report.cluster_id);
  }
  return absl::OkStatus();
}

// The cause that helps most: what the user can mend comes before what may pass.
absl::Status NoneIsFit(const std::vector<absl::Status>& objections, bool some_reached) {
  std::string text;
  std::optional<Code> code;
  for (const Code wanted : {Code::kUnauthenticated, Code::kPermissionDenied, Code::kDataLoss,
                            Code::kUnavailable, Code::kDeadlineExceeded}) {
    const auto has = [wanted](const absl::Status& status) { return status.code() == wanted; };
    if (!code.has_value() && std::ranges::any_of(objections, has)) code = wanted;
  }
  for (const absl::Status& objection : objections) {
    text += fmt::format("{}{}", text.empty() ? "" : "\n  ", Message(objection));
  }
  return MakeStatus(
      code.value_or(Code::kFailedPrecondition),
      "choose a member to take the snapshot from: no endpoint is fit for it{}:\n  {}",
      some_reached ? "; a snapshot that may be old or damaged has to be allowed explicitly" : "",
      text);
}

// What is less is better; after `fit`, the order matters only with allow_stale.
auto Rank(const EndpointReport& report, const Alarms& alarms, bool fit) {
  const bool corrupt = std::ranges::find(alarms.corrupt, report.member_id) != alarms.corrupt.end();
  return std::make_tuple(!fit, corrupt, report.is_learner, !report.not_linearizable.ok(),
                         fit ? 0 : ~report.raft_applied, report.is_leader);
}

std::string WhyNot(const EndpointReport& report, const EndpointReport& chosen,
                   const absl::Status& objection) {
  if (!objection.ok()) return Message(objection);
  if (report.is_leader && !chosen.is_leader) return "it is the leader: a follower was preferred";
  return fmt::format("it is as fit as {}, which was named before it", chosen.endpoint);
}

}  // namespace

absl::StatusOr<size_t> ChooseMember(std::vector<EndpointReport>& reports, const Alarms& alarms,
                                    bool allow_stale) {
  CV_RETURN_IF_ERROR(CheckOneCluster(reports));
  const uint64_t committed = HighestCommitted(reports);
  std::vector<absl::Status> objections;
  std::optional<size_t> best;
  bool some_reached = false;
  for (size_t i = 0; i < reports.size(); ++i) {
    objections.push_back(Objection(reports[i], alarms, committed));
    const bool reached = reports[i].unreachable.ok();
    some_reached = some_reached || reached;
    if (!reached || (!objections[i].ok() && !allow_stale)) continue;
    if (!best.has_value() || Rank(reports[i], alarms, objections[i].ok()) <
                                 Rank(reports[*best], alarms, objections[*best].ok())) {
      best = i;
    }
  }
  for (size_t i = 0; i < reports.size(); ++i) {
    if (best != i) {
      reports[i].passed_over = best.has_value() ? WhyNot(reports[i], reports[*best], objections[i])
                                                : Message(objections[i]);
    }
  }
  if (!best.has_value()) return NoneIsFit(objections, some_reached);
  return *best;
}

}  // namespace cryptvol::etcd
