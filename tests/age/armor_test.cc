// age files as text.
#include "age/armor.h"

#include "tests/age/testing.h"

namespace cryptvol::age {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::kDataLoss;
using testing::kInvalid;
using testing::Noise;
using testing::TextSink;
using testing::TextSource;

const std::string kBegin = "-----BEGIN AGE ENCRYPTED FILE-----\n";
const std::string kEnd = "-----END AGE ENCRYPTED FILE-----\n";

std::string Armored(const std::string& bytes, size_t step) {
  TextSink sink;
  ArmorSink armor(sink);
  for (size_t at = 0; at < bytes.size(); at += step) {
    EXPECT_THAT(armor.Write(AsBytes(bytes).subspan(at, std::min(step, bytes.size() - at))), IsOk());
  }
  EXPECT_THAT(armor.Finish(), IsOk());
  return sink.text;
}

absl::StatusOr<std::string> Drain(ByteSource& source) {
  std::string bytes;
  std::vector<uint8_t> buffer(777);
  while (true) {
    CV_ASSIGN_OR_RETURN(const size_t got, source.Read(buffer));
    if (got == 0) return bytes;
    bytes.append(AsText(buffer).substr(0, got));
  }
}

absl::StatusOr<std::string> Dearmored(const std::string& text, size_t step = SIZE_MAX) {
  TextSource source(text, step);
  ArmorSource armor(source);
  return Drain(armor);
}

// Any size, written and read in any steps, comes back; all lines but the last have 64 columns.
TEST(Armor, RoundTrip) {
  for (const size_t size : {0, 1, 2, 47, 48, 49, 95, 96, 97, 100000}) {
    const std::string bytes = Noise(size);
    const std::string text = Armored(bytes, 1 + size / 3);
    EXPECT_TRUE(text.starts_with(kBegin) && text.ends_with(kEnd));
    EXPECT_EQ(text, Armored(bytes, 48));
    if (size >= 48) {
      EXPECT_EQ(text.find('\n', kBegin.size()), kBegin.size() + 64);
    }
    for (const size_t step : {1, 63, 100000}) EXPECT_EQ(Dearmored(text, step).value(), bytes);
  }
}

// White space around it, CRLF, and a missing newline at the end are forgiven.
TEST(Armor, ForgivesWhatAgeForgives) {
  const std::string text = Armored("hello", 5);
  EXPECT_EQ(Dearmored("\n \t\r\n" + text + " \n\v\f\r\n").value(), "hello");
  EXPECT_EQ(Dearmored(text.substr(0, text.size() - 1)).value(), "hello");
  std::string crlf;
  for (const char c : text) crlf += c == '\n' ? "\r\n" : std::string(1, c);
  EXPECT_EQ(Dearmored(crlf).value(), "hello");
  EXPECT_EQ(Dearmored(std::string(1000, '\n') + text + std::string(1000, ' ')).value(), "hello");
}

// Nothing else is.
TEST(Armor, RefusesMalformed) {
  const std::string full = std::string(64, 'A') + "\n";
  const std::vector<std::string> cases = {
      "hello\n",
      "x" + kBegin + "aGVsbG8=\n" + kEnd,
      " " + kBegin + "aGVsbG8=\n" + kEnd,
      "-----BEGIN AGE ENCRYPTED FILE----- \naGVsbG8=\n" + kEnd,
      "-----BEGIN age ENCRYPTED FILE-----\naGVsbG8=\n" + kEnd,
      kBegin + "aGVsbG8=\n" + "-----END AGE ENCRYPTED FILE----- \n",
      kBegin + "aGVsbG8=\n" + kEnd + "x",
      kBegin + "aGVsbG8=\n" + kEnd + kBegin,
      kBegin + "Header: x\n\naGVsbG8=\n" + kEnd,
      kBegin + "\naGVsbG8=\n" + kEnd,
      kBegin + "aGVsbG8=\n\n" + kEnd,
      kBegin + "aGVsbG8\n" + kEnd,
      kBegin + "aGVsbG9=\n" + kEnd,
      kBegin + "aGVsbG8= \n" + kEnd,
      kBegin + " aGVsbG8=\n" + kEnd,
      kBegin + "aGVs\rbG8=\n" + kEnd,
      kBegin + "aGVsbG8=\r\r\n" + kEnd,
      kBegin + "aGVs\nbG8=\n" + kEnd,
      kBegin + "aGVsbG8=\naGVsbG8=\n" + kEnd,
      kBegin + std::string(68, 'A') + "\n" + kEnd,
      kBegin + std::string(62, 'A') + "==\n" + full + kEnd,
      kBegin + "aGVsbG8=\n=abcd\n" + kEnd,
      std::string(2000, '\n') + kBegin + "aGVsbG8=\n" + kEnd,
      kBegin + "aGVsbG8=\n" + kEnd + std::string(2000, '\n'),
      kBegin + std::string(100000, 'A'),
  };
  for (const std::string& text : cases) EXPECT_THAT(Dearmored(text), Fails(kInvalid, "")) << text;
}

// Cut anywhere before its last line is whole, it is called cut off.
TEST(Armor, FindsEveryCut) {
  const std::string text = Armored(Noise(200), 200);
  for (size_t size = kBegin.size(); size + 1 < text.size(); ++size) {
    EXPECT_THAT(Dearmored(text.substr(0, size)), Fails(kDataLoss, "cut off")) << size;
  }
}

// Either form is found out, even from an empty source.
TEST(Armor, AnyFormFindsOut) {
  const std::string binary = "age-encryption.org/v1\n...";
  for (const std::string& text : {binary, Armored(binary, 5), "\r\n" + Armored(binary, 5)}) {
    TextSource source(text, 3);
    AnyFormSource any(source);
    EXPECT_EQ(Drain(any).value(), binary);
  }
  TextSource nothing("");
  AnyFormSource any(nothing);
  EXPECT_EQ(Drain(any).value(), "");
}

// The source's and the sink's errors are passed on.
TEST(Armor, PassesOnErrors) {
  TextSource source(kBegin, 10, absl::Status(absl::StatusCode::kUnavailable, "gone"));
  ArmorSource armor(source);
  EXPECT_THAT(Drain(armor), Fails(absl::StatusCode::kUnavailable, "gone"));
  TextSink full(10);
  ArmorSink sink(full);
  EXPECT_THAT(sink.Finish(), Fails(absl::StatusCode::kResourceExhausted, "full"));
}

}  // namespace
}  // namespace cryptvol::age
