#include "age/armor.h"

#include <algorithm>

#include "age/base64.h"
#include "age/primitives.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

constexpr std::string_view kBegin = "-----BEGIN AGE ENCRYPTED FILE-----";
constexpr std::string_view kEnd = "-----END AGE ENCRYPTED FILE-----";
constexpr std::string_view kBlanks = " \t\r\n\v\f";
constexpr size_t kMaxBlanks = 1024;
constexpr size_t kColumns = 64;
constexpr size_t kLineBytes = kColumns / 4 * 3;
constexpr size_t kInputBytes = 64 * 1024;

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(kBlanks) == std::string_view::npos;
}

// The line without its end; a lone CR elsewhere stays, and is refused.
std::string_view Content(std::string_view line) {
  if (line.ends_with('\n')) {
    line.remove_suffix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
  }
  return line;
}

absl::Status CutOff() {
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "the armored age file ends before its line \"{}\": it is cut off", kEnd);
}

}  // namespace

absl::StatusOr<bool> ArmorSource::FillInput() {
  if (input_at_ < input_.size()) return true;
  input_.resize(kInputBytes);
  CV_ASSIGN_OR_RETURN(const size_t got, source_.Read(input_));
  input_.resize(got);
  input_at_ = 0;
  return got > 0;
}

// With its newline, if it has one; empty at the end; cut to kMaxBlanks + 1, which is refused by
// every caller.
absl::StatusOr<std::string> ArmorSource::Line() {
  std::string line;
  while (line.size() <= kMaxBlanks && !line.ends_with('\n')) {
    CV_ASSIGN_OR_RETURN(const bool more, FillInput());
    if (!more) break;
    const std::string_view rest = AsText(input_).substr(input_at_);
    const size_t room = kMaxBlanks + 1 - line.size();
    const std::string_view part = rest.substr(0, std::min(rest.find('\n'), room - 1) + 1);
    line += part;
    input_at_ += part.size();
  }
  return line;
}

absl::Status ArmorSource::ReadBegin() {
  size_t blanks = 0;
  while (true) {
    CV_ASSIGN_OR_RETURN(const std::string line, Line());
    if (line.empty()) return CutOff();
    if (!IsBlank(line)) {
      state_ = State::kInside;
      if (Content(line) == kBegin) return absl::OkStatus();
      return InvalidArgument("this is not an age file, neither binary nor armored");
    }
    blanks += line.size();
    if (blanks > kMaxBlanks) return InvalidArgument("too much white space before the age file");
  }
}

absl::Status ArmorSource::ReadTrailing() {
  size_t blanks = 0;
  state_ = State::kEnded;
  while (true) {
    CV_ASSIGN_OR_RETURN(const std::string line, Line());
    if (line.empty()) return absl::OkStatus();
    blanks += line.size();
    if (!IsBlank(line) || blanks > kMaxBlanks) {
      return InvalidArgument("there is something behind the end of the armored age file");
    }
  }
}

absl::Status ArmorSource::ReadNextLine() {
  CV_ASSIGN_OR_RETURN(const std::string line, Line());
  if (line.empty()) return CutOff();
  const std::string_view content = Content(line);
  if (content == kEnd) return ReadTrailing();
  if (!line.ends_with('\n') && content.size() <= kColumns) return CutOff();
  if (state_ == State::kLastLine) {
    return InvalidArgument("the armored age file has a short line that is not its last");
  }
  auto bytes = DecodePaddedBase64(content);
  if (!bytes || content.empty() || content.size() > kColumns) {
    return InvalidArgument(
        "the armored age file has a line that is not 1 to 64 columns of canonical base64");
  }
  if (bytes->size() < kLineBytes) state_ = State::kLastLine;
  decoded_.insert(decoded_.end(), bytes->begin(), bytes->end());
  return absl::OkStatus();
}

absl::StatusOr<size_t> ArmorSource::Read(std::span<uint8_t> buffer) {
  CV_RETURN_IF_ERROR(failure_);
  if (decoded_at_ == decoded_.size()) {
    decoded_.clear();
    decoded_at_ = 0;
    if (state_ == State::kBefore) failure_ = ReadBegin();
    while (failure_.ok() && state_ != State::kEnded && decoded_.size() < kInputBytes) {
      failure_ = ReadNextLine();
    }
    // What stood before a fault is given first: its reader may find out more.
    if (decoded_.empty()) CV_RETURN_IF_ERROR(failure_);
  }
  const size_t size = std::min(buffer.size(), decoded_.size() - decoded_at_);
  std::copy_n(decoded_.begin() + static_cast<std::ptrdiff_t>(decoded_at_), size, buffer.begin());
  decoded_at_ += size;
  return size;
}

absl::Status ArmorSink::Flush(std::string text) {
  if (!begun_) text.insert(0, std::string(kBegin) + "\n");
  begun_ = true;
  return sink_.Write(AsBytes(text));
}

absl::Status ArmorSink::Write(std::span<const uint8_t> bytes) {
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  std::string text;
  size_t at = 0;
  for (; pending_.size() - at >= kLineBytes; at += kLineBytes) {
    text.append(EncodePaddedBase64(std::span(pending_).subspan(at, kLineBytes))).append("\n");
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(at));
  return text.empty() ? absl::OkStatus() : Flush(std::move(text));
}

absl::Status ArmorSink::Finish() {
  std::string text;
  if (!pending_.empty()) text.append(EncodePaddedBase64(pending_)).append("\n");
  pending_.clear();
  return Flush(text.append(kEnd).append("\n"));
}

AnyFormSource::AnyFormSource(ByteSource& source) : rewound_(source), armor_(rewound_) {}

absl::StatusOr<size_t> AnyFormSource::Rewound::Peek() {
  CV_ASSIGN_OR_RETURN(const size_t got, source_.Read({&first_, 1}));
  held_ = got == 1;
  return got;
}

absl::StatusOr<size_t> AnyFormSource::Rewound::Read(std::span<uint8_t> buffer) {
  if (!held_ || buffer.empty()) return source_.Read(buffer);
  held_ = false;
  buffer[0] = first_;
  return 1;
}

absl::StatusOr<size_t> AnyFormSource::Read(std::span<uint8_t> buffer) {
  if (form_ == Form::kUnknown) {
    CV_ASSIGN_OR_RETURN(const size_t got, rewound_.Peek());
    const char first = static_cast<char>(rewound_.first());
    const bool armor = got == 1 && (first == kBegin[0] || kBlanks.find(first) != kBlanks.npos);
    form_ = armor ? Form::kArmor : Form::kBinary;
  }
  return form_ == Form::kArmor ? armor_.Read(buffer) : rewound_.Read(buffer);
}

}  // namespace cryptvol::age
