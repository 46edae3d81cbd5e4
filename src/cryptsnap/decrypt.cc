// cryptsnap decrypt
#include "age/armor.h"
#include "age/file.h"
#include "age/payload.h"
#include "age/scrypt.h"
#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/input.h"
#include "cryptsnap/keys.h"
#include "cryptsnap/output.h"
#include "cryptsnap/progress.h"

namespace cryptvol::cryptsnap {
namespace {

struct DecryptOptions {
  IdentityOptions identities;
  bool passphrase = false;
  int passphrase_fd = -1;
  std::string input = "-";
  std::string output;
};

absl::Status Validate(const DecryptOptions& options) {
  if (options.passphrase && !options.identities.files.empty()) {
    return UsageError("-p and -i exclude each other: a file has a passphrase or keys",
                      "identity files with a passphrase are recognised by themselves");
  }
  return CheckOneStandardInput({options.identities.files, {options.input}});
}

absl::StatusOr<age::Identities> Identities(const DecryptOptions& options, KeyLoader& loader) {
  CV_ASSIGN_OR_RETURN(age::Identities identities, loader.LoadIdentities(options.identities));
  if (identities.empty()) {
    identities.push_back(std::make_unique<AskingIdentity>(loader.passphrase(), "for the file"));
  }
  return identities;
}

// Before the first byte of the payload: it cannot be told whether the key or the header is at fault.
absl::Status HeaderError(const absl::Status& status, bool has_identities) {
  const bool about_the_file = absl::IsUnauthenticated(status) || absl::IsInvalidArgument(status) ||
                              absl::IsDataLoss(status);
  if (!about_the_file) return status;
  return WithHint(WithExitStatus(status, ExitStatus::kWrongKey),
                  has_identities ? "cryptsnap inspect shows what kinds of keys open the file"
                                 : "-i FILE gives the identity for a file that keys open");
}

absl::Status PayloadError(const absl::Status& status) {
  if (!absl::IsDataLoss(status) && !absl::IsInvalidArgument(status)) return status;
  return WithHint(WithExitStatus(status, ExitStatus::kTampering),
                  "the file is not what was encrypted: get another copy of it");
}

absl::Status Run(DecryptOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  KeyLoader loader(options.passphrase_fd);
  CV_ASSIGN_OR_RETURN(const age::Identities identities, Identities(options, loader));
  CV_ASSIGN_OR_RETURN(const auto input, Input::Open(options.input));
  Output output(options.output, 0600);
  CV_RETURN_IF_ERROR(output.CheckIsNot(*input));
  age::AnyFormSource binary(*input);
  const auto file = age::OpenFile(binary, identities);
  if (!file.ok()) {
    return HeaderError(Annotate(file.status(), input->name()), !options.identities.files.empty());
  }
  CV_ASSIGN_OR_RETURN(const SecretBytes payload_key, file->PayloadKey());
  ProgressMeter progress(input->size(), !output.IsTerminal());
  ProgressSource source(binary, progress);
  const absl::Status decrypted = age::DecryptPayload(payload_key, source, output);
  if (!decrypted.ok()) return PayloadError(Annotate(decrypted, input->name()));
  return output.Commit();
}

}  // namespace

void AddDecrypt(CLI::App& app, Action& action) {
  auto options = std::make_shared<DecryptOptions>();
  CLI::App* command = app.add_subcommand("decrypt", "Decrypt an age file, from whatever program");
  AddIdentityFlags(*command, options->identities, "Use the identities (secret keys) in this file");
  command->add_flag("-p,--passphrase", options->passphrase,
                    "The file has a passphrase. Not needed: such files are recognised");
  AddPassphraseFdFlag(*command, options->passphrase_fd);
  command
      ->add_option("-o,--output", options->output,
                   "Write to this file (mode 0600), replacing it when all was authentic; "
                   "default: standard output")
      ->type_name("FILE");
  command->add_option("INPUT", options->input, "What to decrypt; default: standard input");
  command->footer(
      "Only authentic bytes come out. With -o, a file that was altered or cut leaves no output\n"
      "file; in a pipe, look at the exit status before using what came out.\n\n"
      "  cryptsnap decrypt -i identity.txt -o dump.sql dump.age\n"
      "  cryptsnap decrypt -i identity.txt db.age | psql db\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
