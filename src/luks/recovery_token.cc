#include "luks/recovery_token.h"

#include <algorithm>
#include <optional>

#include "base/decimal.h"
#include "luks/strict_json.h"

namespace cryptvol::luks {
namespace {

constexpr uint32_t kVersion = 1;
constexpr size_t kMaxAgeFileBytes = 8192;
constexpr std::string_view kArmorBegin = "-----BEGIN AGE ENCRYPTED FILE-----\n";

bool IsArmored(const std::string& text) {
  return text.size() <= kMaxAgeFileBytes && text.starts_with(kArmorBegin) &&
         std::ranges::all_of(text, [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); });
}

// The only keyslot that the token names.
std::optional<int> KeyslotOf(const Json& token, const Header& header) {
  const Json* names = FindArray(token, "keyslots");
  if (names == nullptr || names->size() != 1 || !names->front().is_string()) return std::nullopt;
  const auto id = ParseDecimal(names->front().get<std::string>());
  const auto is_it = [&](const Keyslot& slot) {
    return id.has_value() && slot.id == static_cast<int>(*id);
  };
  const auto slot = std::ranges::find_if(header.keyslots, is_it);
  if (slot == header.keyslots.end()) return std::nullopt;
  return slot->id;
}

std::optional<RecoveryToken> Parse(int id, std::string_view text, const Header& header) {
  const absl::StatusOr<Json> json = ParseStrictJson(text);
  if (!json.ok() || FindString(*json, "type") != kRecoveryTokenType) return std::nullopt;
  if (FindNumber(*json, "version") != kVersion) return std::nullopt;
  std::optional<std::string> age_file = FindString(*json, "age");
  const std::optional<int> keyslot = KeyslotOf(*json, header);
  if (!age_file.has_value() || !IsArmored(*age_file) || !keyslot.has_value()) return std::nullopt;
  return RecoveryToken{id, *keyslot, *std::move(age_file)};
}

bool IsLeftover(std::string_view text) {
  const absl::StatusOr<Json> json = ParseStrictJson(text);
  if (!json.ok() || FindString(*json, "type") != kRecoveryTokenType) return false;
  const Json* names = FindArray(*json, "keyslots");
  return FindNumber(*json, "version") == kVersion && names != nullptr && names->empty();
}

}  // namespace

std::string SerializeRecoveryToken(int keyslot, const std::string& age_file) {
  const Json json = {{"type", kRecoveryTokenType},
                     {"keyslots", Json::array({std::to_string(keyslot)})},
                     {"version", kVersion},
                     {"age", age_file}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<RecoveryToken> FindRecoveryTokens(const Header& header) {
  std::vector<RecoveryToken> found;
  for (const auto& [id, text] : header.tokens) {
    if (auto token = Parse(id, text, header)) found.push_back(*std::move(token));
  }
  return found;
}

std::vector<int> FindLeftoverRecoveryTokens(const Header& header) {
  std::vector<int> found;
  for (const auto& [id, text] : header.tokens) {
    if (IsLeftover(text)) found.push_back(id);
  }
  return found;
}

bool IsRecoveryKeyslot(const std::vector<RecoveryToken>& tokens, int keyslot) {
  return std::ranges::find(tokens, keyslot, &RecoveryToken::keyslot) != tokens.end();
}

}  // namespace cryptvol::luks
