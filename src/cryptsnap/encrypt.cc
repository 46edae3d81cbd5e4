// cryptsnap encrypt
#include <sys/stat.h>
#include <unistd.h>

#include "age/file.h"
#include "age/scrypt.h"
#include "age/x25519.h"
#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/input.h"
#include "cryptsnap/keys.h"
#include "cryptsnap/output.h"
#include "cryptsnap/progress.h"

namespace cryptvol::cryptsnap {
namespace {

struct EncryptOptions {
  RecipientOptions recipients;
  IdentityOptions identities;
  bool passphrase = false;
  int passphrase_fd = -1;
  bool armor = false;
  std::string input = "-";
  std::string output;
};

absl::Status Validate(EncryptOptions& options) {
  const bool keys = !options.recipients.empty() || !options.identities.files.empty();
  // A descriptor without -p may still open an identity file.
  if (options.passphrase_fd >= 0 && options.identities.files.empty()) options.passphrase = true;
  if (options.passphrase && keys) {
    return UsageError("a passphrase and keys exclude each other: age's format has it so",
                      "protect a key with a passphrase instead, and encrypt to the key");
  }
  if (!options.passphrase && !keys) {
    return UsageError("nobody could open the result: no recipient was given",
                      "-r age1... or -R FILE for keys, -p for a passphrase; cryptsnap keygen makes "
                      "a key");
  }
  if (options.output.empty() && !options.armor && ::isatty(STDOUT_FILENO) == 1) {
    return UsageError("encrypted bytes would go to the terminal",
                      "-o FILE writes a file, -a makes text of it, -o - insists");
  }
  return CheckOneStandardInput(
      {options.recipients.recipient_files, options.identities.files, {options.input}});
}

absl::Status AddOwnRecipients(KeyLoader& loader, const IdentityOptions& options,
                              age::Recipients& recipients) {
  CV_ASSIGN_OR_RETURN(const age::Identities identities, loader.LoadIdentities(options));
  for (const auto& identity : identities) {
    const auto* native = dynamic_cast<const age::X25519Identity*>(identity.get());
    if (native == nullptr) {
      return UsageError("-i: one of the identities is a plugin's, which alone knows its recipient",
                        "give the recipient itself: -r age1...");
    }
    recipients.push_back(std::make_unique<age::X25519Recipient>(native->recipient()));
  }
  return absl::OkStatus();
}

absl::StatusOr<age::Recipients> Recipients(const EncryptOptions& options, KeyLoader& loader) {
  if (options.passphrase) {
    CV_ASSIGN_OR_RETURN(SecretBytes passphrase, loader.passphrase().ToProtect("for the file"));
    age::Recipients one;
    CV_ASSIGN_OR_RETURN(one.emplace_back(), age::ScryptRecipient::New(std::move(passphrase)));
    return one;
  }
  CV_ASSIGN_OR_RETURN(RecipientList list, loader.LoadRecipients(options.recipients));
  CV_RETURN_IF_ERROR(AddOwnRecipients(loader, options.identities, list.recipients));
  return std::move(list.recipients);
}

absl::Status Run(EncryptOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  KeyLoader loader(options.passphrase_fd);
  CV_ASSIGN_OR_RETURN(const age::Recipients recipients, Recipients(options, loader));
  CV_ASSIGN_OR_RETURN(const auto input, Input::Open(options.input));
  Output output(options.output, 0666);
  CV_RETURN_IF_ERROR(output.CheckIsNot(*input));
  age::EncryptOptions age_options;
  age_options.armor = options.armor;
  ProgressMeter progress(input->size(), !output.IsTerminal());
  ProgressSource source(*input, progress);
  CV_RETURN_IF_ERROR(age::EncryptToRecipients(source, recipients, age_options, output));
  return output.Commit();
}

}  // namespace

void AddEncrypt(CLI::App& app, Action& action) {
  auto options = std::make_shared<EncryptOptions>();
  CLI::App* command = app.add_subcommand("encrypt", "Encrypt a file or a stream, as age does");
  AddRecipientFlags(*command, options->recipients);
  AddIdentityFlags(*command, options->identities,
                   "Encrypt to the public keys of the identities in this file");
  command->add_flag("-p,--passphrase", options->passphrase,
                    "Encrypt with a passphrase, asked for at the terminal");
  AddPassphraseFdFlag(*command, options->passphrase_fd);
  command->add_flag("-a,--armor", options->armor, "Write text (PEM) instead of bytes");
  command
      ->add_option("-o,--output", options->output,
                   "Write to this file, replacing it when all went well; default: standard "
                   "output")
      ->type_name("FILE");
  command->add_option("INPUT", options->input, "What to encrypt; default: standard input");
  command->footer(
      "The result is an age v1 file: `age -d` opens it, and `cryptsnap decrypt`.\n\n"
      "  cryptsnap encrypt -r age1... -o dump.age dump.sql\n"
      "  pg_dump db | cryptsnap encrypt -R escrow-keys.txt > db.age\n"
      "  cryptsnap encrypt -p -a -o note.txt.age note.txt\n\n"
      "To keep backups under a signature, see `cryptsnap save`.\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
