// cryptsnap save
#include <unistd.h>

#include <algorithm>

#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/input.h"
#include "cryptsnap/producer.h"
#include "cryptsnap/quantities.h"
#include "cryptsnap/save_options.h"

namespace cryptvol::cryptsnap {
namespace {

struct SaveOptions {
  SaveFlags flags;
  std::string expect_size;
  std::string expect_sha256;
  std::vector<std::string> command;
};

bool IsSha256(const std::string& text) {
  return text.size() == 64 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

absl::Status Validate(const SaveOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options.flags));
  if (!options.expect_sha256.empty() && !IsSha256(options.expect_sha256)) {
    return UsageError("--expect-sha256: not 64 lower-case hexadecimal digits");
  }
  if (!options.expect_size.empty()) {
    CV_RETURN_IF_ERROR(ParseSize("--expect-size", options.expect_size).status());
  }
  if (options.command.empty() && ::isatty(STDIN_FILENO) == 1) {
    return UsageError("what shall be saved? standard input is a terminal",
                      "pipe something in, or: cryptsnap save ... TARGET -- COMMAND...");
  }
  if (options.command.empty()) {
    return CheckOneStandardInput({options.flags.recipients.recipient_files, {"-"}});
  }
  return absl::OkStatus();
}

absl::StatusOr<snapshot::SaveResult> Save(const SaveOptions& options) {
  CV_ASSIGN_OR_RETURN(const auto job, PrepareSave(options.flags));
  snapshot::Proofs& proofs = job->options.proofs;
  proofs.sha256 = options.expect_sha256;
  if (!options.expect_size.empty()) {
    CV_ASSIGN_OR_RETURN(proofs.size, ParseSize("--expect-size", options.expect_size));
    job->options.expected_bytes = proofs.size;
  }
  if (options.command.empty()) {
    CV_ASSIGN_OR_RETURN(const auto input, Input::Open("-"));
    if (!job->options.expected_bytes) job->options.expected_bytes = input->size();
    return snapshot::SaveStream(*job->target, *input, job->options);
  }
  CV_ASSIGN_OR_RETURN(const auto producer, Producer::Start(options.command));
  proofs.producer_ended = [&producer] { return producer->Wait(); };
  return snapshot::SaveStream(*job->target, *producer, job->options);
}

absl::Status Run(SaveOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  return RecordSave(options.flags, snapshot::Kind::kStream, [&] { return Save(options); });
}

}  // namespace

void AddSave(CLI::App& app, Action& action) {
  auto options = std::make_shared<SaveOptions>();
  CLI::App* command =
      app.add_subcommand("save", "Save standard input, or what a command prints, as a backup");
  AddSaveFlags(*command, options->flags);
  command
      ->add_option("--expect-size", options->expect_size, "Save only if exactly so many bytes came")
      ->type_name("SIZE");
  command
      ->add_option("--expect-sha256", options->expect_sha256,
                   "Save only if what came has this digest")
      ->type_name("HEX");
  command->add_option("COMMAND", options->command,
                      "Behind --: a program and its arguments; the backup completes only when it "
                      "exits with status 0");
  command->footer(
      "A pipe cannot tell an end from an accident. Prefer `-- COMMAND`; with a plain pipe give "
      "--expect-size\nor --expect-sha256, or the backup is marked as of unproven completeness.\n\n"
      "  cryptsnap save --cluster=prod --signing-key=cryptsnap.key -R escrow.txt \\\n"
      "      file:/backups -- kubectl get all -A -o yaml\n"
      "  velero backup download nightly -o /dev/stdout | cryptsnap save --cluster=prod \\\n"
      "      --signing-key=cryptsnap.key -R escrow.txt s3://backups/velero\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
