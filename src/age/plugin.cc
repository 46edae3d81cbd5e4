#include "age/plugin.h"

#include <cstdlib>
#include <utility>

#include "age/plugin_connection.h"
#include "age/plugin_name.h"
#include "age/plugin_session.h"
#include "base/status.h"

namespace cryptvol::age {

PluginOptions PluginOptions::FromEnvironment() {
  PluginOptions options;
  if (const char* path = std::getenv("PATH"); path != nullptr) options.search_path = path;
  if (const char* home = std::getenv("HOME"); home != nullptr) options.home = home;
  return options;
}

absl::StatusOr<std::unique_ptr<PluginRecipient>> PluginRecipient::Parse(
    std::string_view text, const PluginOptions& options) {
  CV_ASSIGN_OR_RETURN(std::string name, PluginOfRecipient(text));
  return std::unique_ptr<PluginRecipient>(new PluginRecipient(std::move(name), text, options));
}

absl::StatusOr<WrappedKey> PluginRecipient::Wrap(const SecretBytes& file_key) {
  CV_ASSIGN_OR_RETURN(const auto connection,
                      PluginConnection::Start(name_, "recipient-v1", options_));
  return WrapWithPlugin(*connection, name_, options_.ui, text_, file_key);
}

absl::StatusOr<std::unique_ptr<PluginIdentity>> PluginIdentity::Parse(
    std::string_view text, const PluginOptions& options) {
  CV_ASSIGN_OR_RETURN(std::string name, PluginOfIdentity(text));
  CV_ASSIGN_OR_RETURN(SecretBytes secret, SecretBytes::CopyOf(text));
  return std::unique_ptr<PluginIdentity>(
      new PluginIdentity(std::move(name), std::move(secret), options));
}

absl::StatusOr<std::optional<SecretBytes>> PluginIdentity::Unwrap(std::span<const Stanza> stanzas) {
  CV_ASSIGN_OR_RETURN(const auto connection,
                      PluginConnection::Start(name_, "identity-v1", options_));
  return UnwrapWithPlugin(*connection, name_, options_.ui, text_, stanzas);
}

}  // namespace cryptvol::age
