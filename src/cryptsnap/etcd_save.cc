// cryptsnap etcd save
#include <cstdio>

#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/quantities.h"
#include "cryptsnap/save_options.h"
#include "etcd/client.h"

namespace cryptvol::cryptsnap {
namespace {

struct EtcdSaveOptions {
  SaveFlags flags;
  std::vector<std::string> endpoints;  // each may be several, divided by commas
  std::string ca_file;
  std::string certificate_file;
  std::string key_file;
  std::string server_name;
  std::string user;
  std::string password_file;
  std::string request_timeout = "5s";
  std::string idle_timeout = "60s";
  bool allow_stale = false;
  bool no_read_back = false;
};

absl::Status EtcdError(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return WithExitStatus(status, ExitStatus::kTransport);
    default:
      return status;
  }
}

std::vector<std::string> SplitAtCommas(const std::vector<std::string>& lists) {
  std::vector<std::string> parts;
  for (const std::string& list : lists) {
    for (size_t at = 0; at <= list.size();) {
      const size_t end = std::min(list.find(',', at), list.size());
      parts.push_back(list.substr(at, end - at));
      at = end + 1;
    }
  }
  return parts;
}

absl::StatusOr<etcd::ClientOptions> ClientOptionsOf(const EtcdSaveOptions& options) {
  etcd::ClientOptions client;
  client.endpoints = SplitAtCommas(options.endpoints);
  client.ca_file = options.ca_file;
  client.certificate_file = options.certificate_file;
  client.key_file = options.key_file;
  client.server_name = options.server_name;
  client.user = options.user;
  client.password_file = options.password_file;
  CV_ASSIGN_OR_RETURN(client.request_timeout,
                      ParseDuration("--request-timeout", options.request_timeout));
  CV_ASSIGN_OR_RETURN(client.idle_timeout, ParseDuration("--idle-timeout", options.idle_timeout));
  CV_RETURN_IF_ERROR(etcd::ResolveFromEnvironment(client));
  return client;
}

absl::StatusOr<etcd::Choice> ChooseMember(etcd::Client& client, bool allow_stale) {
  absl::StatusOr<etcd::Choice> choice = client.Choose(allow_stale);
  if (!choice.ok()) return EtcdError(choice.status());
  for (const std::string& warning : choice->warnings) {
    std::fprintf(stderr, "cryptsnap: warning: %s\n", EscapeForeign(warning).c_str());
  }
  return choice;
}

absl::StatusOr<snapshot::SaveResult> Save(const EtcdSaveOptions& options) {
  CV_ASSIGN_OR_RETURN(etcd::ClientOptions client_options, ClientOptionsOf(options));
  CV_ASSIGN_OR_RETURN(const auto job, PrepareSave(options.flags));
  CV_ASSIGN_OR_RETURN(const auto client, etcd::Client::Create(std::move(client_options)));
  CV_ASSIGN_OR_RETURN(const etcd::Choice choice, ChooseMember(*client, options.allow_stale));
  auto source = choice.connection->TakeSnapshot();
  if (!source.ok()) return EtcdError(source.status());
  snapshot::EtcdOrigin origin = snapshot::OriginOf(choice.chosen);
  origin.hash_kv = [&choice](int64_t revision) -> absl::StatusOr<snapshot::MemberHash> {
    CV_ASSIGN_OR_RETURN(const auto answer, choice.connection->HashKeys(revision));
    return snapshot::MemberHash{answer.hash(), answer.compact_revision()};
  };
  job->options.expected_bytes = (*source)->expected_bytes();
  job->options.read_back = !options.no_read_back;
  return snapshot::SaveEtcd(*job->target, **source, origin, job->options);
}

absl::Status Run(EtcdSaveOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options.flags));
  return RecordSave(options.flags, snapshot::Kind::kEtcd, [&] { return Save(options); });
}

void AddConnectionFlags(CLI::App& command, EtcdSaveOptions& options) {
  const char* group = "etcd (also from ETCDCTL_*, as etcdctl has them)";
  AddRepeatable(command, "--endpoints", options.endpoints,
                "HOST:PORT or URL; several with commas. The healthiest voting member is taken, "
                "followers first")
      ->type_name("URL")
      ->group(group);
  const auto file = [&](const char* flag, std::string& value, const char* description) {
    command.add_option(flag, value, description)->type_name("FILE")->group(group);
  };
  file("--cacert", options.ca_file, "Certificates of the authorities that sign etcd's");
  file("--cert", options.certificate_file, "Client certificate");
  file("--key", options.key_file, "Its key");
  command
      .add_option("--server-name", options.server_name, "Name that etcd's certificate must have")
      ->type_name("NAME")
      ->group(group);
  command.add_option("--user", options.user, "User, where etcd has authentication")
      ->type_name("NAME")
      ->group(group);
  file("--password-file", options.password_file, "File whose first line is the user's password");
  command.add_option("--request-timeout", options.request_timeout, "Of each question to etcd")
      ->type_name("DURATION")
      ->capture_default_str()
      ->group(group);
  command.add_option("--idle-timeout", options.idle_timeout, "Without bytes of the snapshot")
      ->type_name("DURATION")
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void AddEtcd(CLI::App& app, Action& action) {
  auto options = std::make_shared<EtcdSaveOptions>();
  CLI::App* etcd = app.add_subcommand("etcd", "Save a snapshot of etcd");
  etcd->require_subcommand(1);
  CLI::App* command = etcd->add_subcommand("save", "Take a snapshot of a live etcd and save it");
  AddSaveFlags(*command, options->flags);
  AddConnectionFlags(*command, *options);
  command->add_flag("--allow-stale", options->allow_stale,
                    "Take what there is: from a member without a quorum, from a learner, in spite "
                    "of a CORRUPT alarm");
  command->add_flag("--no-read-back", options->no_read_back,
                    "Do not read the revision from what was written: for credentials that may "
                    "only write");
  command->footer(
      "The backup completes only when etcd's own digest of the snapshot matched.\n\n"
      "  cryptsnap etcd save --cluster=prod --endpoints=https://127.0.0.1:2379 \\\n"
      "      --cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/server.crt \\\n"
      "      --key=/etc/kubernetes/pki/etcd/server.key --signing-key=cryptsnap.key \\\n"
      "      -R escrow.txt s3://backups/prod\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
