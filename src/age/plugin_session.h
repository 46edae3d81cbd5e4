// What is said between us and a plugin: the two state machines of age's plugin protocol.
#ifndef CRYPTVOL_AGE_PLUGIN_SESSION_H_
#define CRYPTVOL_AGE_PLUGIN_SESSION_H_

#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "age/plugin.h"
#include "age/plugin_connection.h"
#include "age/recipient.h"
#include "base/secret_bytes.h"

namespace cryptvol::age {

// recipient-v1 with the plugin NAME. `ui` may be null. Codes: see plugin.h.
absl::StatusOr<WrappedKey> WrapWithPlugin(PluginConnection& connection, const std::string& name,
                                          PluginUi* ui, const std::string& recipient,
                                          const SecretBytes& file_key);

// identity-v1. nullopt when the plugin has nothing to say about any of the stanzas.
absl::StatusOr<std::optional<SecretBytes>> UnwrapWithPlugin(PluginConnection& connection,
                                                            const std::string& name, PluginUi* ui,
                                                            const SecretBytes& identity,
                                                            std::span<const Stanza> stanzas);

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_PLUGIN_SESSION_H_
