// cryptsnap keygen
#include <fcntl.h>
#include <fmt/chrono.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "age/x25519.h"
#include "base/atomic_file.h"
#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/keys.h"
#include "cryptsnap/output.h"
#include "minisign/keys.h"

namespace cryptvol::cryptsnap {
namespace {

struct KeygenOptions {
  std::string output;
  bool signing = false;
  std::string public_file;  // of --signing; empty: the output's name and ".pub"
  bool convert = false;
  std::string input;  // of -y
};

absl::Status Validate(KeygenOptions& options) {
  if (options.signing && options.convert) return UsageError("--signing and -y exclude each other");
  if (options.signing && (options.output.empty() || options.output == "-")) {
    return UsageError("--signing makes two files and needs a name for them",
                      "cryptsnap keygen --signing -o cryptsnap.key (and cryptsnap.key.pub)");
  }
  if (!options.signing && !options.public_file.empty()) {
    return UsageError("--public-file belongs to --signing",
                      "an identity's file has its public key in it; see also keygen -y");
  }
  if (!options.convert && !options.input.empty()) {
    return UsageError("only keygen -y reads a file");
  }
  if (options.public_file.empty()) options.public_file = options.output + ".pub";
  return absl::OkStatus();
}

std::string_view ViewOf(const SecretBytes& bytes) { return {bytes.chars(), bytes.size()}; }

// In one locked block: a file's content with a secret in it.
absl::StatusOr<SecretBytes> Join(std::string_view before, const SecretBytes& secret) {
  CV_ASSIGN_OR_RETURN(SecretBytes all, SecretBytes::Allocate(before.size() + secret.size() + 1));
  std::memcpy(all.data(), before.data(), before.size());
  std::memcpy(all.data() + before.size(), secret.data(), secret.size());
  all.data()[all.size() - 1] = '\n';
  return all;
}

absl::Status CreateKeyFile(const std::string& path, std::string_view content) {
  const absl::Status created = CreateFileExclusively(path, content);
  if (!absl::IsAlreadyExists(created)) return created;
  return WithHint(created, "keys are never overwritten: choose another name, or move it away");
}

void WarnOfOpenFile() {
  struct stat info;
  if (::fstat(STDOUT_FILENO, &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 077) != 0) {
    std::fprintf(stderr,
                 "cryptsnap: warning: others can read the file that the key is written to; "
                 "keygen -o FILE makes one that they cannot\n");
  }
}

absl::Status WriteIdentity(const std::string& path, const SecretBytes& content,
                           const std::string& recipient) {
  if (path.empty() || path == "-") {
    WarnOfOpenFile();
    Output output(path, 0600);
    CV_RETURN_IF_ERROR(output.Write(content.span()));
    if (::isatty(STDOUT_FILENO) == 1) return absl::OkStatus();
  } else {
    CV_RETURN_IF_ERROR(CreateKeyFile(path, ViewOf(content)));
  }
  std::fprintf(stderr, "Public key: %s\n", recipient.c_str());
  return absl::OkStatus();
}

absl::Status MakeIdentity(const KeygenOptions& options) {
  CV_ASSIGN_OR_RETURN(const auto identity, age::X25519Identity::Generate());
  CV_ASSIGN_OR_RETURN(const SecretBytes secret, identity->text());
  const std::string recipient = identity->recipient().text();
  CV_ASSIGN_OR_RETURN(const SecretBytes content,
                      Join(fmt::format("# created: {:%Y-%m-%dT%H:%M:%SZ}\n# public key: {}\n",
                                       fmt::gmtime(std::time(nullptr)), recipient),
                           secret));
  return WriteIdentity(options.output, content, recipient);
}

absl::Status MakeSigningKey(const KeygenOptions& options) {
  CV_ASSIGN_OR_RETURN(const minisign::SecretKey key, minisign::GenerateKey());
  CV_ASSIGN_OR_RETURN(const SecretBytes secret, minisign::SerializeSecretKey(key));
  CV_RETURN_IF_ERROR(CreateKeyFile(options.output, ViewOf(secret)));
  const absl::Status created =
      CreateKeyFile(options.public_file, minisign::SerializePublicKey(key.public_key));
  if (!created.ok()) {
    // Half a pair is of no use, and would be in the way of the next try.
    (void)RemoveFileDurably(options.output);
    return created;
  }
  // For those who verify, on whatever account.
  (void)::chmod(options.public_file.c_str(), 0644);
  std::fprintf(stderr, "Key id: %s\nPublic key: %s\n", minisign::KeyIdText(key.id).c_str(),
               options.public_file.c_str());
  return absl::OkStatus();
}

absl::Status PrintRecipients(const KeygenOptions& options) {
  KeyLoader loader;
  CV_ASSIGN_OR_RETURN(const age::Identities identities,
                      loader.LoadIdentityFile(options.input.empty() ? "-" : options.input));
  std::string text;
  for (const auto& identity : identities) {
    const auto* native = dynamic_cast<const age::X25519Identity*>(identity.get());
    if (native == nullptr) {
      return UsageError("-y: one of the identities is a plugin's, which alone knows its recipient");
    }
    text += native->recipient().text() + "\n";
  }
  Output output(options.output, 0666);
  CV_RETURN_IF_ERROR(output.Write(AsBytes(text)));
  return output.Commit();
}

absl::Status Run(KeygenOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  if (options.convert) return PrintRecipients(options);
  return options.signing ? MakeSigningKey(options) : MakeIdentity(options);
}

}  // namespace

void AddKeygen(CLI::App& app, Action& action) {
  auto options = std::make_shared<KeygenOptions>();
  CLI::App* command =
      app.add_subcommand("keygen", "Make a key that opens backups, or one that signs them");
  command
      ->add_option("-o,--output", options->output,
                   "Write the secret key to this new file, mode 0600; an existing one is an "
                   "error. Default: standard output")
      ->type_name("FILE");
  command->add_flag("--signing", options->signing,
                    "Make a pair for signatures in minisign's format, without a passphrase, as a "
                    "CronJob needs it. With one: minisign -G");
  command
      ->add_option("--public-file", options->public_file,
                   "With --signing, where the public key goes; default: FILE.pub")
      ->type_name("FILE");
  command->add_flag("-y,--convert", options->convert,
                    "Print the public keys of the identities in a file instead");
  command->add_option("FILE", options->input, "With -y, the identities; default: standard input");
  command->footer(
      "An identity opens what was encrypted to its public key (age1...); age-keygen's are the "
      "same.\nKeep it away from the place where backups are made: saving needs the public key "
      "only.\n\n"
      "  cryptsnap keygen -o identity.txt              make an identity\n"
      "  cryptsnap keygen -y identity.txt              print its public key\n"
      "  cryptsnap keygen --signing -o cryptsnap.key   make cryptsnap.key and cryptsnap.key.pub\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
