#include "snapshot/timestamp.h"

#include <charconv>

#include "base/status.h"

namespace cryptvol::snapshot {
namespace {

using std::chrono::year_month_day;

// The digits of `text` from `at` on; nullopt when one of them is none.
std::optional<int> Number(std::string_view text, size_t at, size_t digits) {
  int value = 0;
  for (const char c : text.substr(at, digits)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = 10 * value + (c - '0');
  }
  return value;
}

bool HasShape(std::string_view text) {
  return text.size() == 20 && text[4] == '-' && text[7] == '-' && text[10] == 'T' &&
         text[13] == ':' && text[16] == ':' && text[19] == 'Z';
}

struct Civil {
  year_month_day date;
  std::chrono::hh_mm_ss<std::chrono::seconds> time;
};

Civil CivilOf(Timestamp time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  return {.date = year_month_day(day),
          .time = std::chrono::hh_mm_ss<std::chrono::seconds>(time - day)};
}

}  // namespace

std::string FormatTimestamp(Timestamp time) {
  const auto [date, clock] = CivilOf(time);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

std::string CompactTimestamp(Timestamp time) {
  std::string text = FormatTimestamp(time);
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text;
}

std::optional<Timestamp> ParseTimestamp(std::string_view text) {
  if (!HasShape(text)) return std::nullopt;
  const auto year = Number(text, 0, 4), month = Number(text, 5, 2), day = Number(text, 8, 2);
  const auto hour = Number(text, 11, 2), minute = Number(text, 14, 2), second = Number(text, 17, 2);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  const year_month_day date{std::chrono::year(*year),
                            std::chrono::month(static_cast<unsigned>(*month)),
                            std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *year < 1970 || *hour > 23 || *minute > 59 || *second > 59) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second);
}

}  // namespace cryptvol::snapshot
