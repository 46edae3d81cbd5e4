#include "csi/keygen.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/secret_bytes.h"
#include "base/status.h"
#include "keys/volume_secret.h"

namespace cryptvol::driver {
namespace {

// A Kubernetes name (RFC 1123 subdomain), and what may stand in a manifest without quoting.
bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= 253 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

bool IsKeyId(std::string_view id) {
  return id.size() <= 128 && std::ranges::all_of(id, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_';
         });
}

// Unbuffered: no copy of the key stays behind in a buffer of stdio's.
void Write(std::FILE* out, std::string_view text) { std::fwrite(text.data(), 1, text.size(), out); }

std::string ManifestHead(const KeygenOptions& options) {
  std::string head = fmt::format(
      "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {}\n  namespace: {}\ntype: "
      "Opaque\nstringData:\n"
      "  CRYPTO_KEY_FORMAT: random\n",
      options.secret_name, options.secret_namespace);
  if (!options.key_id.empty()) head += fmt::format("  CRYPTO_KEY_ID: \"{}\"\n", options.key_id);
  return head + "  CRYPTO_KEY_VALUE: \"";
}

}  // namespace

CLI::App* AddKeygenCommand(CLI::App& app, KeygenOptions& options) {
  CLI::App* command = app.add_subcommand("keygen",
                                         "Print a new key: 256 random bits. Declare it as such "
                                         "(CRYPTO_KEY_FORMAT: random) and volumes open without the "
                                         "cost of stretching a password");
  command->fallthrough(false);
  command->add_option("--secret", options.secret_name,
                      "Print the manifest of a Secret with this name instead: cryptvol-csi keygen "
                      "--secret=storage-key | kubectl create -f -");
  command->add_option("--namespace", options.secret_namespace, "Namespace of the Secret")
      ->capture_default_str();
  command->add_option("--key-id", options.key_id,
                      "CRYPTO_KEY_ID of the Secret: a name for the key that errors can mention");
  return command;
}

absl::Status Keygen(const KeygenOptions& options, std::FILE* out) {
  const bool manifest = !options.secret_name.empty();
  if (manifest && (!IsName(options.secret_name) || !IsName(options.secret_namespace))) {
    return InvalidArgument("--secret and --namespace take lower-case letters, digits, '-' and '.'");
  }
  if (!IsKeyId(options.key_id)) {
    return InvalidArgument("--key-id takes at most 128 letters, digits, '-', '.' and '_'");
  }
  CV_ASSIGN_OR_RETURN(const SecretBytes key, keys::GeneratePassphrase());
  std::setvbuf(out, nullptr, _IONBF, 0);
  if (manifest) Write(out, ManifestHead(options));
  Write(out, std::string_view(key.chars(), key.size()));
  if (manifest) Write(out, "\"\n");
  // A newline for a person; in a pipe or a file it would become part of the key.
  if (!manifest && ::isatty(::fileno(out)) == 1) Write(out, "\n");
  if (std::ferror(out) != 0 || std::fflush(out) != 0) return ErrnoStatus(errno, "write the key");
  return absl::OkStatus();
}

}  // namespace cryptvol::driver
