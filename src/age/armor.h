// age files as text: strict PEM with the label AGE ENCRYPTED FILE.
#ifndef CRYPTVOL_AGE_ARMOR_H_
#define CRYPTVOL_AGE_ARMOR_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/stream.h"

namespace cryptvol::age {

// The bytes inside an armor. White space is allowed before and after (1 KiB each), lines may end
// with CRLF, all else is as ArmorSink writes it.
//  INVALID_ARGUMENT  not such a text
//  DATA_LOSS         it ends too early
// Reads ahead in `source`, which outlives this.
class ArmorSource : public ByteSource {
 public:
  explicit ArmorSource(ByteSource& source) : source_(source) {}
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override;

 private:
  enum class State { kBefore, kInside, kLastLine, kEnded };

  absl::StatusOr<std::string> Line();
  absl::StatusOr<bool> FillInput();
  absl::Status ReadBegin();
  absl::Status ReadNextLine();
  absl::Status ReadTrailing();

  ByteSource& source_;
  State state_ = State::kBefore;
  absl::Status failure_;
  std::vector<uint8_t> input_;
  size_t input_at_ = 0;
  std::vector<uint8_t> decoded_;
  size_t decoded_at_ = 0;
};

// Writes an armor around the bytes. `sink` outlives this.
class ArmorSink : public ByteSink {
 public:
  explicit ArmorSink(ByteSink& sink) : sink_(sink) {}
  absl::Status Write(std::span<const uint8_t> bytes) override;
  // After the last Write; without it the armor has no end.
  absl::Status Finish();

 private:
  absl::Status Flush(std::string text);

  ByteSink& sink_;
  bool begun_ = false;
  std::vector<uint8_t> pending_;  // less than a line
};

// An age file in either form: finds out from the first byte, and gives the binary form. The source
// outlives this.
class AnyFormSource : public ByteSource {
 public:
  explicit AnyFormSource(ByteSource& source);
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override;
  // Of a binary file whose first byte was read.
  PieceSource* pieces() override { return form_ == Form::kBinary ? rewound_.pieces() : nullptr; }

 private:
  // Gives the first byte back before the others.
  class Rewound : public ByteSource {
   public:
    explicit Rewound(ByteSource& source) : source_(source) {}
    absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override;
    PieceSource* pieces() override { return held_ ? nullptr : source_.pieces(); }
    absl::StatusOr<size_t> Peek();
    uint8_t first() const { return first_; }

   private:
    ByteSource& source_;
    bool held_ = false;
    uint8_t first_ = 0;
  };

  enum class Form { kUnknown, kBinary, kArmor };
  Rewound rewound_;
  ArmorSource armor_;
  Form form_ = Form::kUnknown;
};

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_ARMOR_H_
