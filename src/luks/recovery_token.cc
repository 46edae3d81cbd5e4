#include "luks/recovery_token.h"

#include <algorithm>
#include <optional>

#include "base/decimal.h"
#include "luks/strict_json.h"

namespace cryptvol::luks {
namespace {

constexpr uint32_t kVersion = 1;
constexpr size_t kMaxAgeFileBytes = 8192;
constexpr char kPlanned[] = "planned";
constexpr std::string_view kArmorBegin = "-----BEGIN AGE ENCRYPTED FILE-----\n";

bool IsArmored(const std::string& text) {
  return text.size() <= kMaxAgeFileBytes && text.starts_with(kArmorBegin) &&
         std::ranges::all_of(text, [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); });
}

const Keyslot* FindKeyslot(const Header& header, const std::string& number) {
  const auto id = ParseDecimal(number);
  if (!id.has_value()) return nullptr;
  const auto slot = std::ranges::find(header.keyslots, static_cast<int>(*id), &Keyslot::id);
  return slot == header.keyslots.end() ? nullptr : &*slot;
}

// The only keyslot that the token names.
const Keyslot* NamedKeyslot(const Json& names, const Header& header) {
  if (names.size() != 1 || !names.front().is_string()) return nullptr;
  return FindKeyslot(header, names.front().get<std::string>());
}

// The one that was to be made, by its number of iterations.
const Keyslot* PlannedKeyslot(const Json& token, const Header& header) {
  const std::optional<std::string> planned = FindString(token, kPlanned);
  if (!planned.has_value()) return nullptr;
  const Keyslot* slot = FindKeyslot(header, *planned);
  const bool of_that_kind =
      slot != nullptr && slot->kdf == "pbkdf2" && slot->kdf_iterations == kRecoveryIterations;
  return of_that_kind ? slot : nullptr;
}

// One of ours, with its keyslot where it has one.
struct Parsed {
  RecoveryToken token;
  bool has_keyslot = false;
};

std::optional<Parsed> Parse(int id, std::string_view text, const Header& header) {
  const absl::StatusOr<Json> json = ParseStrictJson(text);
  if (!json.ok() || FindString(*json, "type") != kRecoveryTokenType) return std::nullopt;
  const Json* names = FindArray(*json, "keyslots");
  std::optional<std::string> age_file = FindString(*json, "age");
  if (FindNumber(*json, "version") != kVersion || names == nullptr) return std::nullopt;
  if (!age_file.has_value() || !IsArmored(*age_file)) return std::nullopt;
  const Keyslot* slot =
      names->empty() ? PlannedKeyslot(*json, header) : NamedKeyslot(*names, header);
  if (slot == nullptr && !names->empty()) return std::nullopt;
  return Parsed{{id, slot == nullptr ? 0 : slot->id, *std::move(age_file)}, slot != nullptr};
}

std::vector<Parsed> ParseAll(const Header& header) {
  std::vector<Parsed> all;
  for (const auto& [id, text] : header.tokens) {
    if (auto parsed = Parse(id, text, header)) all.push_back(*std::move(parsed));
  }
  return all;
}

std::string Serialize(const Json& keyslots, const Json& others, const std::string& age_file) {
  Json json = {{"type", kRecoveryTokenType},
               {"keyslots", keyslots},
               {"version", kVersion},
               {"age", age_file}};
  json.update(others);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string SerializeRecoveryToken(int keyslot, const std::string& age_file) {
  return Serialize(Json::array({std::to_string(keyslot)}), Json::object(), age_file);
}

std::string SerializePlannedRecoveryToken(int keyslot, const std::string& age_file) {
  return Serialize(Json::array(), {{kPlanned, std::to_string(keyslot)}}, age_file);
}

std::vector<RecoveryToken> FindRecoveryTokens(const Header& header) {
  std::vector<RecoveryToken> found;
  for (Parsed& parsed : ParseAll(header)) {
    if (parsed.has_keyslot) found.push_back(std::move(parsed.token));
  }
  return found;
}

std::vector<int> FindLeftoverRecoveryTokens(const Header& header) {
  std::vector<int> found;
  for (const Parsed& parsed : ParseAll(header)) {
    if (!parsed.has_keyslot) found.push_back(parsed.token.id);
  }
  return found;
}

bool IsRecoveryKeyslot(const std::vector<RecoveryToken>& tokens, int keyslot) {
  return std::ranges::find(tokens, keyslot, &RecoveryToken::keyslot) != tokens.end();
}

}  // namespace cryptvol::luks
