#include "luks/token.h"

#include <algorithm>
#include <array>

#include "base/status.h"
#include "luks/foreign_text.h"
#include "luks/strict_json.h"

namespace cryptvol::luks {
namespace {

// The rules by which the members are read. A reader refuses a higher one, and ignores members that
// it does not know, so that an older driver can use what a newer one wrote under the same rules.
constexpr uint32_t kTokenVersion = 1;
constexpr size_t kMaxTokenBytes = 4096;

constexpr std::array<std::string_view, 4> kFilesystems = {"", "ext4", "xfs", "btrfs"};

const char* Name(VolumeState state) {
  return state == VolumeState::kReady ? "ready" : "formatting";
}

absl::StatusOr<VolumeState> ParseState(const std::string& name) {
  for (const VolumeState state : {VolumeState::kFormatting, VolumeState::kReady}) {
    if (name == Name(state)) return state;
  }
  return InvalidArgument("its state is {}, not \"formatting\" or \"ready\"", Quoted(name));
}

absl::StatusOr<std::string> RequireString(const Json& json, const char* name) {
  std::optional<std::string> text = FindString(json, name);
  if (!text.has_value()) return InvalidArgument("it has no string \"{}\"", name);
  return *std::move(text);
}

absl::Status CheckKind(const Json& json) {
  if (FindString(json, "type") != kTokenType) return InvalidArgument("it is not a cryptvol token");
  const std::optional<uint32_t> version = FindNumber(json, "version");
  if (!version.has_value()) return InvalidArgument("it has no version");
  if (*version == kTokenVersion) return absl::OkStatus();
  return InvalidArgument("its version is {}, this driver knows {}; use a newer driver", *version,
                         kTokenVersion);
}

// Some filesystems have none (tune2fs -U clear); one that is still to be made always has.
bool FitsFilesystem(const VolumeToken& token) {
  if (IsUuid(token.filesystem_uuid)) return !token.filesystem.empty();
  const bool may_have_none = token.filesystem.empty() || token.state == VolumeState::kReady;
  return token.filesystem_uuid.empty() && may_have_none;
}

absl::Status CheckFields(const VolumeToken& token) {
  if (!IsIdentifier(token.volume_id)) {
    return InvalidArgument("its volume id {} is none", Quoted(token.volume_id));
  }
  if (std::ranges::find(kFilesystems, token.filesystem) == kFilesystems.end()) {
    return InvalidArgument("its filesystem {} is unknown", Quoted(token.filesystem));
  }
  if (!FitsFilesystem(token)) {
    return InvalidArgument("its filesystem is {}, with UUID {}", Quoted(token.filesystem),
                           Quoted(token.filesystem_uuid));
  }
  if (!token.key_id.empty() && !IsIdentifier(token.key_id)) {
    return InvalidArgument("its key id {} is none", Quoted(token.key_id));
  }
  return absl::OkStatus();
}

absl::StatusOr<VolumeToken> Parse(std::string_view text) {
  if (text.size() > kMaxTokenBytes) {
    return InvalidArgument("it has {} bytes, more than {}", text.size(), kMaxTokenBytes);
  }
  CV_ASSIGN_OR_RETURN(const Json json, ParseStrictJson(text));
  CV_RETURN_IF_ERROR(CheckKind(json));
  VolumeToken token;
  CV_ASSIGN_OR_RETURN(token.volume_id, RequireString(json, "volume_id"));
  CV_ASSIGN_OR_RETURN(token.filesystem, RequireString(json, "filesystem"));
  CV_ASSIGN_OR_RETURN(token.filesystem_uuid, RequireString(json, "filesystem_uuid"));
  CV_ASSIGN_OR_RETURN(token.key_id, RequireString(json, "key_id"));
  CV_ASSIGN_OR_RETURN(const std::string state, RequireString(json, "state"));
  CV_ASSIGN_OR_RETURN(token.state, ParseState(state));
  CV_RETURN_IF_ERROR(CheckFields(token));
  return token;
}

bool IsOurs(const std::string& text) {
  const absl::StatusOr<Json> json = ParseStrictJson(text);
  return json.ok() && FindString(*json, "type") == kTokenType;
}

absl::Status Unusable(std::string_view what) {
  return FailedPrecondition(
      "read the volume's own record in the LUKS header: {}; look at it with `cryptsetup luksDump`, "
      "and remove what does not belong there with `cryptsetup token remove`",
      what);
}

}  // namespace

std::string SerializeToken(const VolumeToken& token) {
  const Json json = {{"type", kTokenType},
                     {"keyslots", Json::array()},
                     {"version", kTokenVersion},
                     {"volume_id", token.volume_id},
                     {"filesystem", token.filesystem},
                     {"filesystem_uuid", token.filesystem_uuid},
                     {"state", Name(token.state)},
                     {"key_id", token.key_id}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<VolumeToken> ParseToken(std::string_view json) {
  absl::StatusOr<VolumeToken> token = Parse(json);
  if (!token.ok()) return Annotate(token.status(), "read a cryptvol token");
  return token;
}

absl::Status CheckReadable(const VolumeToken& token) {
  return Annotate(Parse(SerializeToken(token)).status(), "write a cryptvol token");
}

absl::StatusOr<std::optional<FoundToken>> FindToken(const Header& header) {
  std::optional<FoundToken> found;
  for (const auto& [id, text] : header.tokens) {
    if (!IsOurs(text)) continue;
    if (found.has_value()) {
      return Unusable(fmt::format("tokens {} and {} both claim to be it", found->id, id));
    }
    absl::StatusOr<VolumeToken> token = Parse(text);
    if (!token.ok()) return Unusable(fmt::format("token {}: {}", id, Message(token.status())));
    found = FoundToken{id, *std::move(token)};
  }
  return found;
}

}  // namespace cryptvol::luks
