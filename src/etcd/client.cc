#include "etcd/client.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <thread>
#include <utility>

#include "base/status.h"
#include "etcd/credentials.h"
#include "etcd/foreign.h"

namespace cryptvol::etcd {
namespace {

using etcdserverpb::AlarmType;

struct Answer {
  EndpointReport report;
  Alarms alarms;
};

// Status gives alarms as text, "memberID:... alarm:CORRUPT", without asking the cluster.
void ReadAlarmTexts(const etcdserverpb::StatusResponse& status, Alarms& alarms) {
  for (const std::string& text : status.errors()) {
    if (text.find("CORRUPT") != std::string::npos) alarms.corrupt.push_back(0);
    if (text.find("NOSPACE") != std::string::npos) alarms.no_space.push_back(0);
  }
}

void FillReport(const etcdserverpb::StatusResponse& status, EndpointReport& report) {
  report.cluster_id = status.header().cluster_id();
  report.member_id = status.header().member_id();
  report.version = ForeignText(status.version());
  report.has_leader = status.leader() != 0;
  report.is_leader = report.has_leader && status.leader() == report.member_id;
  report.is_learner = status.islearner();
  report.raft_committed = status.raftindex();
  report.raft_applied = status.raftappliedindex();
  report.database_bytes = status.dbsize();
  report.database_bytes_in_use = status.dbsizeinuse();
  report.revision = status.header().revision();
}

// A member that has no leader, or is a learner, would only let the read run into its deadline.
void ReadUpToDate(Connection& connection, EndpointReport& report) {
  if (!report.has_leader || report.is_learner) {
    report.not_linearizable = MakeStatus(absl::StatusCode::kUnavailable, "it was not asked");
    return;
  }
  const auto revision = connection.ReadRevision();
  if (revision.ok()) {
    report.revision = *revision;
  } else if (revision.status().code() == absl::StatusCode::kDeadlineExceeded) {
    // Its status came, so it is not the way to the member.
    report.not_linearizable =
        MakeStatus(absl::StatusCode::kUnavailable,
                   "{}: it answers, but cannot confirm that it is up to date: the cluster has lost "
                   "its quorum, or this member is far behind; see `etcdctl endpoint status "
                   "--cluster`",
                   report.endpoint);
  } else {
    report.not_linearizable = revision.status();
  }
}

Answer Ask(Connection& connection) {
  Answer answer;
  answer.report.endpoint = connection.peer().endpoint;
  const auto status = connection.ReadStatus();
  if (!status.ok()) {
    answer.report.unreachable = status.status();
    return answer;
  }
  FillReport(*status, answer.report);
  ReadAlarmTexts(*status, answer.alarms);
  ReadUpToDate(connection, answer.report);
  return answer;
}

std::vector<Answer> AskAll(const std::vector<std::unique_ptr<Connection>>& connections) {
  std::vector<Answer> answers(connections.size());
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < connections.size(); ++i) {
    threads.emplace_back([&, i] { answers[i] = Ask(*connections[i]); });
  }
  threads.clear();
  return answers;
}

void AddAlarms(const etcdserverpb::AlarmResponse& response, Alarms& alarms) {
  for (const auto& alarm : response.alarms()) {
    if (alarm.alarm() == AlarmType::CORRUPT) alarms.corrupt.push_back(alarm.memberid());
    if (alarm.alarm() == AlarmType::NOSPACE) alarms.no_space.push_back(alarm.memberid());
  }
}

// Whether the member can ask the others. With the alarm CORRUPT it can, though it reads nothing.
bool HasQuorum(const EndpointReport& report) {
  return report.unreachable.ok() && (report.not_linearizable.ok() ||
                                     report.not_linearizable.code() == absl::StatusCode::kDataLoss);
}

// The cluster's own list, which Status before 3.4 does not have, from whoever gives it.
void ListAlarms(const std::vector<std::unique_ptr<Connection>>& connections,
                const std::vector<EndpointReport>& reports, Choice& choice, Alarms& alarms) {
  absl::Status error;
  for (size_t i = 0; i < connections.size(); ++i) {
    if (!HasQuorum(reports[i])) continue;
    const auto response = connections[i]->ListAlarms();
    if (response.ok()) return AddAlarms(*response, alarms);
    error = response.status();
  }
  if (!error.ok()) choice.warnings.push_back(Message(error));
}

bool SendsPasswordInClear(const Connection& connection) {
  return connection.peer().has_user && !connection.peer().tls;
}

void AddWarnings(const Alarms& alarms, Choice& choice) {
  if (!alarms.no_space.empty()) {
    choice.warnings.emplace_back(
        "the cluster has the alarm NOSPACE and takes no writes until it is defragmented or its "
        "quota raised, and the alarm disarmed");
  }
  if (!alarms.corrupt.empty()) {
    choice.warnings.emplace_back("the cluster has the alarm CORRUPT: the snapshot may be damaged");
  }
  if (!choice.chosen.not_linearizable.ok()) {
    choice.warnings.push_back(
        fmt::format("{} is not known to be up to date: changes may be missing from the snapshot",
                    choice.chosen.endpoint));
  }
  for (const EndpointReport& report : choice.reports) {
    if (!report.unreachable.ok()) choice.warnings.push_back(Message(report.unreachable));
  }
  if (SendsPasswordInClear(*choice.connection)) {
    choice.warnings.push_back(
        fmt::format("{}: the password was sent unencrypted; use https://", choice.chosen.endpoint));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Create(ClientOptions options) {
  CV_ASSIGN_OR_RETURN(const std::vector<Endpoint> endpoints, ParseEndpoints(options));
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  if (std::ranges::any_of(endpoints, &Endpoint::tls)) {
    CV_ASSIGN_OR_RETURN(credentials, LoadTlsCredentials(options));
  }
  std::unique_ptr<Client> client(new Client(std::move(options)));
  for (const Endpoint& endpoint : endpoints) {
    client->connections_.push_back(
        std::make_unique<Connection>(client->options_, endpoint, credentials));
  }
  return client;
}

absl::StatusOr<Choice> Client::Choose(bool allow_stale) {
  Choice choice;
  Alarms alarms;
  for (Answer& answer : AskAll(connections_)) {
    choice.reports.push_back(std::move(answer.report));
    std::ranges::copy(answer.alarms.corrupt, std::back_inserter(alarms.corrupt));
    std::ranges::copy(answer.alarms.no_space, std::back_inserter(alarms.no_space));
  }
  ListAlarms(connections_, choice.reports, choice, alarms);
  CV_ASSIGN_OR_RETURN(const size_t index, ChooseMember(choice.reports, alarms, allow_stale));
  choice.connection = connections_[index].get();
  choice.chosen = choice.reports[index];
  AddWarnings(alarms, choice);
  return choice;
}

}  // namespace cryptvol::etcd
