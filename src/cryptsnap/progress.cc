#include "cryptsnap/progress.h"

#include <unistd.h>

#include <cstdio>

#include "fmt/format.h"

namespace cryptvol::cryptsnap {
namespace {

constexpr std::chrono::milliseconds kInterval(200);
// Before that, a rate is a guess, and short work needs no line.
constexpr std::chrono::milliseconds kSilence(600);

std::string DurationText(uint64_t seconds) {
  if (seconds >= 3600) {
    return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
  }
  return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
}

}  // namespace

std::string SizeText(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024; ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string ProgressLine(uint64_t done, std::optional<uint64_t> total, double bytes_per_second) {
  std::string line = SizeText(done);
  if (total) line += " of " + SizeText(*total);
  if (bytes_per_second <= 0) return line;
  line += fmt::format(", {}/s", SizeText(static_cast<uint64_t>(bytes_per_second)));
  if (total && *total >= done) {
    const double seconds = static_cast<double>(*total - done) / bytes_per_second;
    line += fmt::format(", {} left", DurationText(static_cast<uint64_t>(seconds + 0.5)));
  }
  return line;
}

ProgressMeter::ProgressMeter(std::optional<uint64_t> total, bool enabled)
    : shown_(enabled && ::isatty(STDERR_FILENO) == 1), total_(total) {}

ProgressMeter::~ProgressMeter() {
  if (line_is_there_) std::fputs("\r\x1b[K", stderr);
}

void ProgressMeter::Set(uint64_t done, std::optional<uint64_t> total) {
  if (!shown_) return;
  const std::scoped_lock lock(mutex_);
  done_ = done;
  if (total) total_ = total;
  Show();
}

void ProgressMeter::Add(uint64_t bytes) {
  if (!shown_) return;
  const std::scoped_lock lock(mutex_);
  done_ += bytes;
  Show();
}

void ProgressMeter::Show() {
  const auto now = Clock::now();
  if (!start_) {
    start_ = now;
    next_ = now + kSilence;
  }
  if (now < next_) return;
  next_ = now + kInterval;
  const double seconds = std::chrono::duration<double>(now - *start_).count();
  const auto total = total_.value_or(0) == 0 ? std::nullopt : total_;
  std::fprintf(stderr, "\r%s\x1b[K",
               ProgressLine(done_, total, static_cast<double>(done_) / seconds).c_str());
  line_is_there_ = true;
}

}  // namespace cryptvol::cryptsnap
