// Recipients and identities that other programs serve: age-plugin-NAME, in the protocol of C2SP's
// age-plugin.md.
//
// A plugin is trusted with the file key and nothing else. It gets PATH, HOME and LC_ALL of our
// choice and no other variable (they may hold cloud credentials), it has a deadline, and what it
// says is bounded: 1024 messages, 2 MiB.
//
// Codes, beside those of Recipient and Identity:
//  FAILED_PRECONDITION  the plugin is not installed, ended early, or reported an error
//  DEADLINE_EXCEEDED    it took too long, and was killed with its process group
//  INTERNAL             it does not keep to the protocol
//  INVALID_ARGUMENT     it calls one of the file's stanzas malformed
#ifndef CRYPTVOL_AGE_PLUGIN_H_
#define CRYPTVOL_AGE_PLUGIN_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "age/recipient.h"
#include "base/secret_bytes.h"

namespace cryptvol::age {

// What a plugin asks of the user. Texts come from the plugin, without control characters but
// newlines. An error is reported to the plugin as a refusal and goes no further: tell the user
// before returning it.
class PluginUi {
 public:
  virtual ~PluginUi() = default;
  virtual absl::Status ShowMessage(const std::string& plugin, const std::string& text) = 0;
  // Whether `yes` was chosen. Without `no` there is nothing else to choose.
  virtual absl::StatusOr<bool> Confirm(const std::string& plugin, const std::string& text,
                                       const std::string& yes,
                                       const std::optional<std::string>& no) = 0;
  virtual absl::StatusOr<std::string> RequestPublic(const std::string& plugin,
                                                    const std::string& prompt) = 0;
  virtual absl::StatusOr<SecretBytes> RequestSecret(const std::string& plugin,
                                                    const std::string& prompt) = 0;
};

struct PluginOptions {
  // Where plugins are looked for; entries that are not absolute are ignored. Also their PATH.
  std::string search_path = "/usr/local/bin:/usr/bin:/bin";
  std::string home;  // their HOME, where some keep settings; empty: none
  // Of the plugin's own time; while the user is asked, it stands still.
  std::chrono::milliseconds timeout = std::chrono::minutes(1);
  PluginUi* ui = nullptr;  // outlives recipients and identities; null: every request is refused

  // With PATH and HOME of this process.
  static PluginOptions FromEnvironment();
};

class PluginRecipient : public Recipient {
 public:
  // "age1NAME1...". INVALID_ARGUMENT, without the text, for anything else. The plugin itself is
  // looked for when it is needed.
  static absl::StatusOr<std::unique_ptr<PluginRecipient>> Parse(std::string_view text,
                                                                const PluginOptions& options);
  absl::StatusOr<WrappedKey> Wrap(const SecretBytes& file_key) override;

 private:
  PluginRecipient(std::string name, std::string_view text, const PluginOptions& options)
      : name_(std::move(name)), text_(text), options_(options) {}
  const std::string name_;
  const std::string text_;
  const PluginOptions options_;
};

class PluginIdentity : public Identity {
 public:
  // "AGE-PLUGIN-NAME-1...". As above.
  static absl::StatusOr<std::unique_ptr<PluginIdentity>> Parse(std::string_view text,
                                                               const PluginOptions& options);
  absl::StatusOr<std::optional<SecretBytes>> Unwrap(std::span<const Stanza> stanzas) override;

 private:
  PluginIdentity(std::string name, SecretBytes text, const PluginOptions& options)
      : name_(std::move(name)), text_(std::move(text)), options_(options) {}
  const std::string name_;
  const SecretBytes text_;
  const PluginOptions options_;
};

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_PLUGIN_H_
