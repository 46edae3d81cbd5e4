// Sources, sinks and refusals for the tests of src/age and src/minisign.
#ifndef CRYPTVOL_TESTS_AGE_TESTING_H_
#define CRYPTVOL_TESTS_AGE_TESTING_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "age/primitives.h"
#include "age/recipient.h"
#include "age/x25519.h"
#include "base/secret_bytes.h"
#include "base/status.h"
#include "base/stream.h"
#include "base/subprocess.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cryptvol::age::testing {

inline constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
inline constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
inline constexpr auto kUnauthenticated = absl::StatusCode::kUnauthenticated;

MATCHER_P2(Fails, code, words, "") {
  const absl::Status status = cryptvol::internal::ToStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code && ::testing::Value(Message(status), ::testing::HasSubstr(words));
}

MATCHER(IsOk, "") {
  const absl::Status status = cryptvol::internal::ToStatus(arg);
  *result_listener << status.ToString();
  return status.ok();
}

// The value, or the end of the test: by an exception, so that what the test made is cleaned up.
template <typename T>
T Must(absl::StatusOr<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().ToString());
  return *std::move(result);
}

// Gives at most `step` bytes at a time, and an error in place of the end when one is set.
class TextSource : public ByteSource {
 public:
  explicit TextSource(std::string text, size_t step = SIZE_MAX, absl::Status end = {})
      : text_(std::move(text)), step_(step), end_(std::move(end)) {}

  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override {
    const size_t size = std::min({buffer.size(), step_, text_.size() - at_});
    if (size == 0) CV_RETURN_IF_ERROR(end_);
    std::copy_n(text_.begin() + static_cast<std::ptrdiff_t>(at_), size, buffer.begin());
    at_ += size;
    return size;
  }
  std::string rest() const { return text_.substr(at_); }

 private:
  std::string text_;
  size_t step_;
  absl::Status end_;
  size_t at_ = 0;
};

// Gives pieces of a text, from its byte `at` on.
class TextPieces : public ByteSource, private PieceSource {
 public:
  explicit TextPieces(std::string text, size_t at = 0) : text_(std::move(text)), at_(at) {}
  absl::StatusOr<size_t> Read(std::span<uint8_t>) override {
    return MakeStatus(absl::StatusCode::kInternal, "not by pieces");
  }
  PieceSource* pieces() override { return this; }

 private:
  absl::StatusOr<Piece> Take(size_t most) override {
    Piece piece{.offset = at_, .size = std::min(most, text_.size() - at_)};
    at_ += piece.size;
    piece.last = at_ == text_.size();
    return piece;
  }
  absl::Status Read(const Piece& piece, std::span<uint8_t> buffer) override {
    std::ranges::copy(AsBytes(text_).subspan(piece.offset, piece.size), buffer.begin());
    return absl::OkStatus();
  }

  const std::string text_;
  size_t at_;
};

// Fails once more than `limit` bytes have come.
class TextSink : public ByteSink {
 public:
  explicit TextSink(size_t limit = SIZE_MAX) : limit_(limit) {}
  absl::Status Write(std::span<const uint8_t> bytes) override {
    if (text.size() + bytes.size() > limit_) {
      return MakeStatus(absl::StatusCode::kResourceExhausted, "the disk is full");
    }
    text.append(AsText(bytes));
    return absl::OkStatus();
  }
  std::string text;

 private:
  size_t limit_;
};

class TextRange : public RangeSource {
 public:
  explicit TextRange(std::string text) : text_(std::move(text)) {}
  uint64_t size() const override { return text_.size(); }
  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
    if (offset > size() || buffer.size() > size() - offset) {
      return MakeStatus(absl::StatusCode::kOutOfRange, "beyond the end");
    }
    std::copy_n(text_.begin() + static_cast<std::ptrdiff_t>(offset), buffer.size(), buffer.begin());
    return absl::OkStatus();
  }

 private:
  const std::string text_;
};

// The same bytes each time, without a pattern that could hide a swap.
inline std::string Noise(size_t size) {
  std::mt19937_64 random(size);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

inline SecretBytes Secret(std::string_view text) { return Must(SecretBytes::CopyOf(text)); }
inline std::string Text(const SecretBytes& secret) { return std::string(AsText(secret.span())); }

template <typename Base, typename... Derived>
std::vector<std::unique_ptr<Base>> List(std::unique_ptr<Derived>... members) {
  std::vector<std::unique_ptr<Base>> list;
  (list.push_back(std::move(members)), ...);
  return list;
}

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "age-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("make a directory");
    path_ = name;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void WriteFile(const std::string& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

inline std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// Runs a shell script; its standard output and errors when it fails.
inline CommandResult Shell(const std::string& script) {
  Command command{.program = "sh", .args = {"-c", script}};
  command.max_output = size_t{1} << 24;
  return Must(RunCommand(command, Deadline::After(std::chrono::seconds(60))));
}

MATCHER(Succeeded, "") {
  *result_listener << arg.Complaint();
  return arg.ok();
}

}  // namespace cryptvol::age::testing

#endif  // CRYPTVOL_TESTS_AGE_TESTING_H_
