#include "age/plugin_session.h"

#include <openssl/crypto.h>

#include <functional>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "age/base64.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

constexpr size_t kMaxUiText = 4096;

Stanza Reply(std::string type) { return {std::move(type), {}, {}}; }

std::string BodyText(const Stanza& stanza) {
  return PrintableText(AsText(stanza.body), kMaxUiText);
}

// One run of a plugin: what it asks of the user is answered here, what it has to say about keys is
// left to a handler.
class Session {
 public:
  // Takes a stanza of its state machine; false for types that it does not know.
  using Handler = std::function<absl::StatusOr<bool>(Stanza&)>;

  Session(std::string name, PluginUi* ui, PluginConnection& connection)
      : name_(std::move(name)), ui_(ui), connection_(connection) {}

  absl::Status Send(const Stanza& stanza) { return connection_.Send(stanza); }

  // Until the plugin says that it is done.
  absl::Status Converse(const Handler& handler) {
    while (true) {
      CV_ASSIGN_OR_RETURN(Stanza stanza, connection_.Receive());
      const absl::Cleanup wipe = [&stanza] {
        ::OPENSSL_cleanse(stanza.body.data(), stanza.body.size());
      };
      if (stanza.type == "done") return absl::OkStatus();
      if (stanza.type == "error") return Error(stanza);
      CV_ASSIGN_OR_RETURN(const bool handled, handler(stanza));
      if (handled) {
        CV_RETURN_IF_ERROR(Send(Reply("ok")));
      } else {
        CV_RETURN_IF_ERROR(AnswerUser(stanza));
      }
    }
  }

  absl::Status Malformed(const Stanza& stanza) const {
    return Internal("age-plugin-{} does not keep to age's plugin protocol: a malformed {} message",
                    name_, stanza.type);
  }

 private:
  absl::Status Error(const Stanza& stanza) {
    CV_RETURN_IF_ERROR(Send(Reply("ok")));
    const bool bad_stanza = !stanza.args.empty() && stanza.args[0] == "stanza";
    return MakeStatus(
        bad_stanza ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kFailedPrecondition,
        "age-plugin-{} reports: {}", name_, BodyText(stanza));
  }

  absl::Status AnswerUser(const Stanza& stanza) {
    if (stanza.type == "msg") return Show(stanza);
    if (stanza.type == "confirm") return Confirm(stanza);
    if (stanza.type == "request-public") return RequestPublic(stanza);
    if (stanza.type == "request-secret") return RequestSecret(stanza);
    return Send(Reply("unsupported"));
  }

  absl::Status Show(const Stanza& stanza) {
    if (ui_ == nullptr) return Send(Reply("fail"));
    const absl::Status shown =
        connection_.WithoutDeadline([&] { return ui_->ShowMessage(name_, BodyText(stanza)); });
    return Send(Reply(shown.ok() ? "ok" : "fail"));
  }

  absl::Status Confirm(const Stanza& stanza) {
    std::vector<std::string> choices;
    for (const std::string& arg : stanza.args) {
      const auto text = DecodeBase64(arg);
      if (!text) return Malformed(stanza);
      choices.push_back(PrintableText(AsText(*text), kMaxUiText));
    }
    if (choices.empty() || choices.size() > 2) return Malformed(stanza);
    if (ui_ == nullptr) return Send(Reply("fail"));
    const auto no = choices.size() == 2 ? std::make_optional(choices[1]) : std::nullopt;
    const absl::StatusOr<bool> yes = connection_.WithoutDeadline(
        [&] { return ui_->Confirm(name_, BodyText(stanza), choices[0], no); });
    if (!yes.ok()) return Send(Reply("fail"));
    return Send({"ok", {*yes ? "yes" : "no"}, {}});
  }

  absl::Status RequestPublic(const Stanza& stanza) {
    if (ui_ == nullptr) return Send(Reply("fail"));
    const absl::StatusOr<std::string> answer =
        connection_.WithoutDeadline([&] { return ui_->RequestPublic(name_, BodyText(stanza)); });
    if (!answer.ok()) return Send(Reply("fail"));
    return SendAnswer(AsBytes(*answer));
  }

  absl::Status RequestSecret(const Stanza& stanza) {
    if (ui_ == nullptr) return Send(Reply("fail"));
    const absl::StatusOr<SecretBytes> answer =
        connection_.WithoutDeadline([&] { return ui_->RequestSecret(name_, BodyText(stanza)); });
    if (!answer.ok()) return Send(Reply("fail"));
    return SendAnswer(answer->span());
  }

  absl::Status SendAnswer(Bytes answer) {
    Stanza reply{"ok", {}, {answer.begin(), answer.end()}};
    const absl::Cleanup wipe = [&reply] {
      ::OPENSSL_cleanse(reply.body.data(), reply.body.size());
    };
    return Send(reply);
  }

  std::string name_;
  PluginUi* ui_;
  PluginConnection& connection_;
};

absl::Status SendFileKey(Session& session, const SecretBytes& file_key) {
  Stanza stanza{"wrap-file-key", {}, {file_key.span().begin(), file_key.span().end()}};
  const absl::Cleanup wipe = [&stanza] {
    ::OPENSSL_cleanse(stanza.body.data(), stanza.body.size());
  };
  return session.Send(stanza);
}

absl::Status SendIdentity(Session& session, const SecretBytes& text) {
  Stanza stanza{"add-identity", {std::string(AsText(text.span()))}, {}};
  const absl::Cleanup wipe = [&stanza] { WipeString(stanza.args[0]); };
  return session.Send(stanza);
}

Stanza AboutFile(const Stanza& stanza) {
  Stanza message{"recipient-stanza", {"0", stanza.type}, stanza.body};
  message.args.insert(message.args.end(), stanza.args.begin(), stanza.args.end());
  return message;
}

// What a plugin has to say while it wraps.
absl::StatusOr<bool> TakeWrapped(const Session& session, Stanza& stanza, WrappedKey& wrapped) {
  if (stanza.type == "labels") {
    if (!wrapped.labels.empty()) return session.Malformed(stanza);
    wrapped.labels.insert(stanza.args.begin(), stanza.args.end());
    return true;
  }
  if (stanza.type != "recipient-stanza") return false;
  if (stanza.args.size() < 2 || stanza.args[0] != "0") return session.Malformed(stanza);
  wrapped.stanzas.push_back(
      {stanza.args[1], {stanza.args.begin() + 2, stanza.args.end()}, stanza.body});
  return true;
}

absl::StatusOr<bool> TakeUnwrapped(const Session& session, Stanza& stanza,
                                   std::optional<SecretBytes>& file_key) {
  if (stanza.type != "file-key") return false;
  if (stanza.args != std::vector<std::string>{"0"} || stanza.body.size() != kFileKeyBytes ||
      file_key) {
    return session.Malformed(stanza);
  }
  CV_ASSIGN_OR_RETURN(file_key, SecretBytes::CopyOf(stanza.body));
  return true;
}

}  // namespace

absl::StatusOr<WrappedKey> WrapWithPlugin(PluginConnection& connection, const std::string& name,
                                          PluginUi* ui, const std::string& recipient,
                                          const SecretBytes& file_key) {
  Session session(name, ui, connection);
  CV_RETURN_IF_ERROR(session.Send({"add-recipient", {recipient}, {}}));
  CV_RETURN_IF_ERROR(SendFileKey(session, file_key));
  CV_RETURN_IF_ERROR(session.Send(Reply("extension-labels")));
  CV_RETURN_IF_ERROR(session.Send(Reply("done")));
  WrappedKey wrapped;
  CV_RETURN_IF_ERROR(
      session.Converse([&](Stanza& stanza) { return TakeWrapped(session, stanza, wrapped); }));
  if (wrapped.stanzas.empty()) {
    return Internal("age-plugin-{} does not keep to age's plugin protocol: it gave no stanza",
                    name);
  }
  return wrapped;
}

absl::StatusOr<std::optional<SecretBytes>> UnwrapWithPlugin(PluginConnection& connection,
                                                            const std::string& name, PluginUi* ui,
                                                            const SecretBytes& identity,
                                                            std::span<const Stanza> stanzas) {
  Session session(name, ui, connection);
  CV_RETURN_IF_ERROR(SendIdentity(session, identity));
  for (const Stanza& stanza : stanzas) CV_RETURN_IF_ERROR(session.Send(AboutFile(stanza)));
  CV_RETURN_IF_ERROR(session.Send(Reply("done")));
  std::optional<SecretBytes> file_key;
  CV_RETURN_IF_ERROR(
      session.Converse([&](Stanza& stanza) { return TakeUnwrapped(session, stanza, file_key); }));
  return file_key;
}

}  // namespace cryptvol::age
