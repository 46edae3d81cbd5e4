#include "luks/strict_json.h"

#include <charconv>
#include <limits>
#include <set>
#include <vector>

#include "base/status.h"

namespace cryptvol::luks {
namespace {

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxValues = 100'000;

// Sees every token before a value is made of it.
class Checker : public nlohmann::json_sax<Json> {
 public:
  const std::string& complaint() const { return complaint_; }

  bool null() override { return Value(); }
  bool boolean(bool) override { return Value(); }
  bool number_integer(number_integer_t) override { return Value(); }
  bool number_unsigned(number_unsigned_t) override { return Value(); }
  bool number_float(number_float_t, const string_t&) override { return Value(); }
  bool string(string_t& text) override { return Value() && NoNul(text); }
  bool binary(binary_t&) override { return Fail("is binary"); }

  bool start_object(size_t) override { return Value() && Open(); }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Value() && Open(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    if (!names_.back().insert(name).second) return Fail("has two members of the same name");
    return NoNul(name);
  }

  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    return Fail(fmt::format("is not JSON at byte {}", position));
  }

 private:
  bool Fail(std::string complaint) {
    complaint_ = std::move(complaint);
    return false;
  }
  bool Value() { return ++values_ <= kMaxValues || Fail("has too many values"); }
  bool NoNul(const std::string& text) {
    return text.find('\0') == std::string::npos || Fail("has a NUL character in a string");
  }
  bool Open() {
    names_.emplace_back();
    return names_.size() <= kMaxDepth || Fail("is nested too deeply");
  }
  bool Close() {
    names_.pop_back();
    return true;
  }

  std::string complaint_;
  size_t values_ = 0;
  std::vector<std::set<std::string>> names_;  // seen so far, in each object (or array) that is open
};

const Json* Find(const Json& value, const char* name) {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(name);
  return found == value.end() ? nullptr : &*found;
}

}  // namespace

absl::StatusOr<Json> ParseStrictJson(std::string_view text) {
  // nlohmann takes a NUL for the end of the text, whatever follows.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return InvalidArgument("the text is not JSON at byte {}", nul);
  }
  Checker checker;
  if (!Json::sax_parse(text, &checker)) {
    return InvalidArgument("the text {}", checker.complaint());
  }
  return Json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
}

const Json* FindObject(const Json& value, const char* name) {
  const Json* found = Find(value, name);
  return found != nullptr && found->is_object() ? found : nullptr;
}

const Json* FindArray(const Json& value, const char* name) {
  const Json* found = Find(value, name);
  return found != nullptr && found->is_array() ? found : nullptr;
}

std::optional<std::string> FindString(const Json& value, const char* name) {
  const Json* found = Find(value, name);
  if (found == nullptr || !found->is_string()) return std::nullopt;
  return found->get_ref<const std::string&>();
}

std::optional<uint32_t> FindNumber(const Json& value, const char* name) {
  const std::optional<uint64_t> number = FindWideNumber(value, name);
  if (!number || *number > std::numeric_limits<uint32_t>::max()) return std::nullopt;
  return static_cast<uint32_t>(*number);
}

std::optional<uint64_t> FindWideNumber(const Json& value, const char* name) {
  const Json* found = Find(value, name);
  if (found == nullptr || !found->is_number_unsigned()) return std::nullopt;
  return found->get<uint64_t>();
}

std::optional<uint64_t> FindDecimal(const Json& value, const char* name) {
  const std::optional<std::string> text = FindString(value, name);
  if (!text.has_value()) return std::nullopt;
  uint64_t number = 0;
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

}  // namespace cryptvol::luks
