#include "cryptsnap/keys.h"

#include <sys/stat.h>

#include <algorithm>
#include <iterator>

#include "age/key_file.h"
#include "base/status.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/input.h"

namespace cryptvol::cryptsnap {
namespace {

constexpr size_t kMaxPipedKeyBytes = 64 * 1024;
constexpr size_t kMaxMinisignBytes = 8 * 1024;

// A key in the place of a file's name would be quoted by every error.
absl::Status CheckIsPath(const std::string& text, const std::string& flag) {
  if (!text.starts_with("AGE-SECRET-KEY-") && !text.starts_with("AGE-PLUGIN-")) {
    return absl::OkStatus();
  }
  return UsageError(flag + " takes a file, and this is a key itself",
                    "put it into a file of mode 0600, and make a new key: everybody on this "
                    "machine can see command lines");
}

absl::Status TooLarge(const std::string& path, size_t limit) {
  return UsageError(fmt::format("{}: larger than {} bytes: not a key file", path, limit));
}

// Into locked memory, without other copies.
absl::StatusOr<SecretBytes> ReadSecretFile(const std::string& path, size_t limit) {
  CV_ASSIGN_OR_RETURN(const auto input, Input::Open(path));
  const size_t most = input->size() ? static_cast<size_t>(std::min<uint64_t>(*input->size(), limit))
                                    : std::min(limit, kMaxPipedKeyBytes);
  CV_ASSIGN_OR_RETURN(SecretBytes buffer, SecretBytes::Allocate(most + 1));
  CV_ASSIGN_OR_RETURN(const size_t size, ReadFully(*input, buffer.span()));
  if (size > most) return TooLarge(path, most);
  return SecretBytes::CopyOf(std::span<const uint8_t>(buffer.data(), size));
}

absl::StatusOr<std::string> ReadPublicFile(const std::string& path, size_t limit) {
  CV_ASSIGN_OR_RETURN(const auto input, Input::Open(path));
  std::string content(input->size()
                          ? static_cast<size_t>(std::min<uint64_t>(*input->size(), limit)) + 1
                          : limit + 1,
                      '\0');
  CV_ASSIGN_OR_RETURN(
      const size_t size,
      ReadFully(*input, {reinterpret_cast<uint8_t*>(content.data()), content.size()}));
  if (size > limit) return TooLarge(path, limit);
  content.resize(size);
  return content;
}

std::string_view ViewOf(const SecretBytes& bytes) { return {bytes.chars(), bytes.size()}; }

void AppendLines(std::string_view content, std::vector<std::string>& lines) {
  while (!content.empty()) {
    const size_t end = std::min(content.find('\n'), content.size());
    std::string_view line = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with('#')) lines.emplace_back(line);
  }
}

// What a library calls an invalid argument is the user's own file here.
absl::Status InKeyFile(const absl::Status& status, const std::string& path) {
  return Annotate(status, path);
}

}  // namespace

CLI::Option* AddRepeatable(CLI::App& command, const std::string& flags,
                           std::vector<std::string>& values, const std::string& description) {
  return command.add_option(flags, values, description)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void AddRecipientFlags(CLI::App& command, RecipientOptions& options) {
  AddRepeatable(command, "-r,--recipient", options.recipients,
                "Encrypt to this public key (age1...). Repeatable: each of the keys opens the "
                "result")
      ->type_name("KEY");
  AddRepeatable(command, "-R,--recipients-file", options.recipient_files,
                "Encrypt to the public keys in this file, one a line; - is standard input. "
                "Repeatable")
      ->type_name("FILE");
}

void AddIdentityFlags(CLI::App& command, IdentityOptions& options, const std::string& purpose) {
  AddRepeatable(command, "-i,--identity", options.files,
                purpose +
                    "; - is standard input. May itself be encrypted with a passphrase. "
                    "Repeatable")
      ->type_name("FILE");
}

void AddPassphraseFdFlag(CLI::App& command, int& fd) {
  command
      .add_option("--passphrase-fd", fd,
                  "Read passphrases from the first line of this file descriptor instead of the "
                  "terminal")
      ->type_name("N")
      ->check(CLI::Range(0, 65535).description(""));
}

absl::Status CheckOneStandardInput(const std::vector<std::vector<std::string>>& paths) {
  std::ptrdiff_t uses = 0;
  for (const auto& list : paths) uses += std::ranges::count(list, "-");
  if (uses <= 1) return absl::OkStatus();
  return UsageError("standard input (-) can be read only once: for keys, or for data");
}

KeyLoader::KeyLoader(int passphrase_fd)
    : passphrase_(passphrase_fd), plugins_(age::PluginOptions::FromEnvironment()) {
  plugins_.ui = &terminal_;
}

absl::StatusOr<RecipientList> KeyLoader::LoadRecipients(const RecipientOptions& options) {
  RecipientList list;
  for (const std::string& text : options.recipients) {
    auto recipient = age::ParseRecipient(text, plugins_);
    if (!recipient.ok()) return Annotate(recipient.status(), "-r");
    list.recipients.push_back(*std::move(recipient));
    list.texts.push_back(text);
  }
  for (const std::string& path : options.recipient_files) {
    CV_RETURN_IF_ERROR(CheckIsPath(path, "-R"));
    CV_ASSIGN_OR_RETURN(const std::string content,
                        ReadPublicFile(path, age::kMaxRecipientsFileBytes));
    auto some = age::ParseRecipientsFile(content, plugins_);
    if (!some.ok()) return InKeyFile(some.status(), path);
    std::ranges::move(*some, std::back_inserter(list.recipients));
    AppendLines(content, list.texts);
  }
  std::ranges::sort(list.texts);
  return list;
}

absl::StatusOr<age::Identities> KeyLoader::ParseIdentities(std::string_view content,
                                                           const std::string& path) {
  if (!age::IsEncryptedKeyFile(content)) return age::ParseIdentitiesFile(content, plugins_);
  age::Identities opener;
  opener.push_back(std::make_unique<AskingIdentity>(passphrase_, "for " + path));
  CV_ASSIGN_OR_RETURN(const SecretBytes inside, age::DecryptKeyFile(content, opener));
  return age::ParseIdentitiesFile(ViewOf(inside), plugins_);
}

absl::StatusOr<age::Identities> KeyLoader::LoadIdentityFile(const std::string& path) {
  CV_RETURN_IF_ERROR(CheckIsPath(path, "-i"));
  CV_ASSIGN_OR_RETURN(const SecretBytes content,
                      ReadSecretFile(path, age::kMaxIdentitiesFileBytes));
  absl::StatusOr<age::Identities> identities = ParseIdentities(ViewOf(content), path);
  if (!identities.ok()) return InKeyFile(identities.status(), path);
  return identities;
}

absl::StatusOr<age::Identities> KeyLoader::LoadIdentities(const IdentityOptions& options) {
  age::Identities identities;
  for (const std::string& path : options.files) {
    CV_ASSIGN_OR_RETURN(age::Identities some, LoadIdentityFile(path));
    std::ranges::move(some, std::back_inserter(identities));
  }
  return identities;
}

absl::StatusOr<minisign::SecretKey> KeyLoader::LoadSigningKey(const std::string& path) {
  CV_ASSIGN_OR_RETURN(const SecretBytes content, ReadSecretFile(path, kMaxMinisignBytes));
  auto key = minisign::ParseSecretKey(ViewOf(content));
  if (absl::IsFailedPrecondition(key.status())) {
    CV_ASSIGN_OR_RETURN(const SecretBytes passphrase, passphrase_.ToOpen("for " + path));
    key = minisign::ParseSecretKey(ViewOf(content), &passphrase);
  }
  if (!key.ok()) {
    return WithHint(InKeyFile(key.status(), path),
                    "make one with: cryptsnap keygen --signing -o FILE");
  }
  return key;
}

absl::StatusOr<std::vector<minisign::PublicKey>> KeyLoader::LoadVerifyKeys(
    const std::vector<std::string>& texts) {
  std::vector<minisign::PublicKey> keys;
  for (const std::string& text : texts) {
    struct stat info;
    if (::stat(text.c_str(), &info) != 0) {
      if (auto key = minisign::ParsePublicKey(text); key.ok()) {
        keys.push_back(*key);
        continue;
      }
    }
    CV_ASSIGN_OR_RETURN(const std::string content, ReadPublicFile(text, kMaxMinisignBytes));
    auto key = minisign::ParsePublicKey(content);
    if (!key.ok()) return InKeyFile(key.status(), text);
    keys.push_back(*key);
  }
  return keys;
}

}  // namespace cryptvol::cryptsnap
