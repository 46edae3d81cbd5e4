// How far a command is, told at a terminal and nowhere else.
#ifndef CRYPTVOL_CRYPTSNAP_PROGRESS_H_
#define CRYPTVOL_CRYPTSNAP_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "base/stream.h"

namespace cryptvol::cryptsnap {

// "1.2 GiB of 4.0 GiB, 620 MiB/s, 0:05 left". `bytes_per_second` 0: not known yet.
std::string ProgressLine(uint64_t done, std::optional<uint64_t> total, double bytes_per_second);

// "4.0 GiB", "17 B".
std::string SizeText(uint64_t bytes);

// One line on standard error, written over and over, if that is a terminal and `enabled`; it is
// wiped in the end. Thread-safe.
class ProgressMeter {
 public:
  // total: 0 or absent when nobody knows.
  explicit ProgressMeter(std::optional<uint64_t> total, bool enabled = true);
  ~ProgressMeter();
  ProgressMeter(const ProgressMeter&) = delete;
  ProgressMeter& operator=(const ProgressMeter&) = delete;

  // May go up only.
  void Set(uint64_t done, std::optional<uint64_t> total);
  void Add(uint64_t bytes);

 private:
  using Clock = std::chrono::steady_clock;
  void Show();

  const bool shown_;
  std::optional<Clock::time_point> start_;  // the first bytes; before, keys were asked for
  std::mutex mutex_;
  std::optional<uint64_t> total_;
  uint64_t done_ = 0;
  Clock::time_point next_;
  bool line_is_there_ = false;
};

// Tells what passes by. Source and progress outlive it.
class ProgressSource : public ByteSource, private PieceSource {
 public:
  ProgressSource(ByteSource& source, ProgressMeter& progress)
      : source_(source), progress_(progress) {}
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override {
    absl::StatusOr<size_t> got = source_.Read(buffer);
    if (got.ok()) progress_.Add(*got);
    return got;
  }
  PieceSource* pieces() override { return source_.pieces() == nullptr ? nullptr : this; }

 private:
  absl::StatusOr<Piece> Take(size_t most) override {
    absl::StatusOr<Piece> piece = source_.pieces()->Take(most);
    if (piece.ok()) progress_.Add(piece->size);
    return piece;
  }
  absl::Status Read(const Piece& piece, std::span<uint8_t> buffer) override {
    return source_.pieces()->Read(piece, buffer);
  }

  ByteSource& source_;
  ProgressMeter& progress_;
};

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_PROGRESS_H_
