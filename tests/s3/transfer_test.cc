// Objects that take more than one request: downloads that go on, uploads in parts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "base/status.h"
#include "s3/client.h"
#include "s3/multipart_writer.h"
#include "s3/object_headers.h"
#include "s3/object_range_source.h"
#include "s3/part_sizes.h"
#include "tests/s3/loopback_server.h"
#include "tests/s3/test_client.h"

namespace cryptvol::s3 {
namespace {

using ::testing::AllOf;
using testing::Answer;
using testing::CutShort;
using ::testing::Each;
using testing::ErrorAnswer;
using testing::Hangup;
using ::testing::HasSubstr;
using testing::InTurn;
using testing::LoopbackServer;
using testing::Received;
using testing::Reply;
using ::testing::SizeIs;
using testing::Soon;
using testing::StringSink;
using testing::TestClient;

using Code = absl::StatusCode;

constexpr char kEtag[] = "ETag: \"e\"\r\n";

Reply Part(const std::string& body, const std::string& range, const std::string& etag = kEtag) {
  return Answer(206, body, "Content-Range: bytes " + range + "\r\n" + etag);
}

struct Got {
  absl::StatusOr<ObjectInfo> info;
  std::string text;
};

Got Get(const LoopbackServer& server, const Client::GetOptions& options = {}) {
  StringSink sink;
  auto info = TestClient(server.url())->GetObject("key", options, sink, Soon());
  return {std::move(info), sink.text};
}

// A whole object, and an empty one.
TEST(GetObject, ReadsAll) {
  LoopbackServer server(InTurn({Answer(200, "0123456789", kEtag), Answer(200, "", kEtag)}));
  const Got whole = Get(server);
  ASSERT_TRUE(whole.info.ok()) << whole.info.status();
  EXPECT_EQ(whole.text, "0123456789");
  EXPECT_EQ(whole.info->size, 10u);
  EXPECT_EQ(whole.info->etag, "\"e\"");
  const Got empty = Get(server);
  ASSERT_TRUE(empty.info.ok()) << empty.info.status();
  EXPECT_EQ(empty.info->size, 0u);
}

// A connection that breaks in the middle: the rest is asked for, of the same object.
TEST(GetObject, GoesOnWhereItStopped) {
  LoopbackServer server(InTurn({CutShort(Answer(200, "0123456789", kEtag), 6),
                                ErrorAnswer(503, "SlowDown"), Part("456789", "4-9/10")}));
  const Got got = Get(server);
  ASSERT_TRUE(got.info.ok()) << got.info.status();
  EXPECT_EQ(got.text, "0123456789");
  EXPECT_EQ(server.received().at(2).Header("range"), "bytes=4-9");
  EXPECT_EQ(server.received().at(2).Header("if-match"), "\"e\"");
}

// Replaced meanwhile: an error, not a mixture.
TEST(GetObject, DoesNotMixVersions) {
  LoopbackServer server(InTurn(
      {CutShort(Answer(200, "0123456789", kEtag), 6), ErrorAnswer(412, "PreconditionFailed")}));
  EXPECT_EQ(Get(server).info.status().code(), Code::kFailedPrecondition);
}

// Also from a server that ignores If-Match.
TEST(GetObject, ComparesTheEtag) {
  LoopbackServer server(InTurn({CutShort(Answer(200, "0123456789", kEtag), 6),
                                Part("xxxxxx", "4-9/10", "ETag: \"other\"\r\n")}));
  const Got got = Get(server);
  EXPECT_EQ(got.info.status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(got.text, "0123");
}

// And without an ETag nothing tells that the rest is of the same object.
TEST(GetObject, DoesNotGoOnWithoutAnEtag) {
  LoopbackServer server(
      InTurn({CutShort(Answer(200, "0123456789"), 6), Part("456789", "4-9/10", "")}));
  EXPECT_EQ(Get(server).info.status().code(), Code::kUnavailable);
  EXPECT_THAT(server.received(), SizeIs(1));
}

// As long as there is progress, the tries do not run out.
TEST(GetObject, IsPatientWhileItGetsOn) {
  LoopbackServer server([](const Received& request) {
    const std::string range = request.Header("range");
    if (range.empty()) return CutShort(Answer(200, "0123456789", kEtag), 9);
    const size_t first = static_cast<size_t>(range.at(6) - '0');
    Reply reply = Part(std::string("0123456789").substr(first), fmt::format("{}-9/10", first));
    return first < 9 ? CutShort(reply, 9 - first) : reply;
  });
  const Got got = Get(server);
  ASSERT_TRUE(got.info.ok()) << got.info.status();
  EXPECT_EQ(got.text, "0123456789");
  EXPECT_THAT(server.received(), SizeIs(10));
}

// An answer without a length could end anywhere.
TEST(GetObject, WantsALength) {
  LoopbackServer server(
      InTurn({{.bytes = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\n\r\n0123", .close = true}}));
  const Got got = Get(server);
  EXPECT_EQ(got.info.status().code(), Code::kDataLoss);
  EXPECT_EQ(got.text, "");
}

struct WrongRange {
  std::string name;
  Reply reply;
};
class WrongRanges : public ::testing::TestWithParam<WrongRange> {};

// No byte of an answer to another question reaches the sink.
TEST_P(WrongRanges, AreRefused) {
  LoopbackServer server(InTurn({GetParam().reply}));
  const Got got = Get(server, {.offset = 2, .length = 4});
  EXPECT_EQ(got.info.status().code(), Code::kDataLoss) << got.info.status();
  EXPECT_EQ(got.text, "");
}

INSTANTIATE_TEST_SUITE_P(Kinds, WrongRanges,
                         ::testing::Values(WrongRange{"whole", Answer(200, "0123456789", kEtag)},
                                           WrongRange{"shifted", Part("0123", "0-3/10")},
                                           WrongRange{"shorter", Part("23", "2-3/10")},
                                           WrongRange{"unnamed", Answer(206, "2345", kEtag)}),
                         [](const auto& tested) { return tested.param.name; });

// A body that is longer or shorter than its own range is refused.
TEST(GetObject, CountsTheBytes) {
  LoopbackServer longer(InTurn({Part("234567", "2-5/10")}));
  EXPECT_EQ(Get(longer, {.offset = 2, .length = 4}).info.status().code(), Code::kDataLoss);
  LoopbackServer shorter(InTurn({Part("23", "2-5/10")}));
  EXPECT_EQ(Get(shorter, {.offset = 2, .length = 4}).info.status().code(), Code::kDataLoss);
}

// Ranges up to the end, and beyond it.
TEST(GetObject, ReadsRanges) {
  LoopbackServer server(
      InTurn({Part("89", "8-9/10"), Part("89", "8-9/10"), ErrorAnswer(416, "InvalidRange")}));
  EXPECT_EQ(Get(server, {.offset = 8}).text, "89");
  EXPECT_EQ(server.received().at(0).Header("range"), "bytes=8-");
  EXPECT_EQ(Get(server, {.offset = 8, .length = 3}).info.status().code(), Code::kOutOfRange);
  EXPECT_EQ(Get(server, {.offset = 11}).info.status().code(), Code::kOutOfRange);
}

class FullSink : public ByteSink {
 public:
  absl::Status Write(std::span<const uint8_t>) override {
    return absl::ResourceExhaustedError("disk full");
  }
};

// The sink's own error is returned, and nothing is tried again.
TEST(GetObject, PassesOnTheSinksError) {
  LoopbackServer server(InTurn({Answer(200, "0123456789", kEtag)}));
  FullSink sink;
  const absl::Status status = TestClient(server.url())->GetObject("key", {}, sink, Soon()).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(Message(status), HasSubstr("disk full"));
  EXPECT_THAT(server.received(), SizeIs(1));
}

// Reads at any place are of one version of the object.
TEST(ObjectRangeSource, ReadsOneVersion) {
  LoopbackServer server(
      InTurn({{.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"e\"\r\n\r\n"},
              Part("345", "3-5/10"),
              ErrorAnswer(412, "PreconditionFailed")}));
  const auto client = TestClient(server.url());
  const auto source = ObjectRangeSource::Open(*client, "key", std::chrono::seconds(10));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->size(), 10u);
  std::vector<uint8_t> buffer(3);
  ASSERT_TRUE((*source)->ReadAt(3, buffer).ok());
  EXPECT_EQ(std::string(buffer.begin(), buffer.end()), "345");
  EXPECT_EQ(server.received().at(1).Header("if-match"), "\"e\"");
  EXPECT_EQ((*source)->ReadAt(8, buffer).code(), Code::kOutOfRange);
  EXPECT_EQ((*source)->ReadAt(3, buffer).code(), Code::kFailedPrecondition);
}

// A small S3: one upload, its parts by number.
class Uploads {
 public:
  Reply operator()(const Received& request) {
    if (request.method == "DELETE") {
      ++aborts;
      return Answer(204);
    }
    if (request.target.ends_with("?uploads=")) {
      ++creates;
      return Answer(200,
                    "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
                    "</InitiateMultipartUploadResult>");
    }
    if (request.method == "POST") return Complete(request);
    const size_t number_at = request.target.find("partNumber=");
    if (number_at == std::string::npos) {
      single = request.body;
      return Answer(200, "", kEtag);
    }
    const int number = std::stoi(request.target.substr(number_at + 11));
    if (number == broken_part) return ErrorAnswer(403, "AccessDenied");
    if (number < first_to_arrive && !parts.contains(first_to_arrive)) {
      return ErrorAnswer(503, "SlowDown");
    }
    if (number == hung_up_part && !std::exchange(hung_up, true)) return Hangup();
    parts[number] = request.body;
    return Answer(200, "", fmt::format("ETag: \"p{}\"\r\n", number));
  }

  std::string Content() const {
    std::string content;
    for (const auto& [number, bytes] : parts) content += bytes;
    return content;
  }

  int creates = 0;
  int aborts = 0;
  int completes = 0;
  int broken_part = 0;
  int hung_up_part = 0;
  int first_to_arrive = 0;
  bool hung_up = false;
  std::string complete_error;
  std::string single;
  std::string completion;
  std::map<int, std::string> parts;

 private:
  Reply Complete(const Received& request) {
    ++completes;
    completion = request.body;
    if (!complete_error.empty()) return ErrorAnswer(200, complete_error);
    return Answer(200,
                  "<CompleteMultipartUploadResult><ETag>\"x-2\"</ETag>"
                  "</CompleteMultipartUploadResult>");
  }
};

// Recognisable at every place.
std::vector<uint8_t> Pattern(size_t size) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i ^ (i >> 8) ^ (i >> 16));
  return bytes;
}

class MultipartWriterTest : public ::testing::Test {
 protected:
  absl::StatusOr<StoredObject> WriteAll(std::span<const uint8_t> bytes,
                                        const MultipartWriter::Options& options) {
    MultipartWriter writer(*client_, "key", options, Soon());
    constexpr size_t kPiece = 1'000'003;
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(kPiece, bytes.size()))) {
      CV_RETURN_IF_ERROR(writer.Write(bytes.first(std::min(kPiece, bytes.size()))));
    }
    return writer.Finish({.must_not_exist = true});
  }

  Uploads uploads_;
  LoopbackServer server_{[this](const Received& request) { return uploads_(request); }};
  std::unique_ptr<Client> client_ = TestClient(server_.url());
};

const MultipartWriter::Options kSmallest = {.part_bytes = kMinPartBytes};

// What fits into one part, nothing included, is one request.
TEST_F(MultipartWriterTest, PutsSmallObjectsAtOnce) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{kMinPartBytes}}) {
    const std::vector<uint8_t> bytes = Pattern(size);
    const auto stored = WriteAll(bytes, kSmallest);
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(uploads_.single, std::string(bytes.begin(), bytes.end()));
    EXPECT_EQ(server_.received().back().Header("if-none-match"), "*");
  }
  EXPECT_EQ(uploads_.creates, 0);
}

// All bytes in order, in full parts but for the last, which is never empty.
TEST_F(MultipartWriterTest, UploadsInParts) {
  const std::vector<uint8_t> bytes = Pattern(3 * kMinPartBytes + 1);
  const auto stored = WriteAll(bytes, kSmallest);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->etag, "\"x-2\"");
  EXPECT_EQ(uploads_.Content(), std::string(bytes.begin(), bytes.end()));
  ASSERT_THAT(uploads_.parts, SizeIs(4));
  EXPECT_THAT(uploads_.parts[3], SizeIs(kMinPartBytes));
  EXPECT_THAT(uploads_.parts[4], SizeIs(1));
  const size_t first = uploads_.completion.find("<PartNumber>1</PartNumber><ETag>&quot;p1&quot;");
  const size_t last = uploads_.completion.find("<PartNumber>4</PartNumber><ETag>&quot;p4&quot;");
  EXPECT_LT(first, last);
  EXPECT_NE(last, std::string::npos);
  EXPECT_EQ(uploads_.aborts, 0);
}

// A multiple of the part's size has no empty part at its end.
TEST_F(MultipartWriterTest, HasNoEmptyPart) {
  ASSERT_TRUE(WriteAll(Pattern(2 * kMinPartBytes), kSmallest).ok());
  EXPECT_THAT(uploads_.parts, SizeIs(2));
}

// A part's bytes are kept until its upload has succeeded.
TEST_F(MultipartWriterTest, SendsAPartAgain) {
  uploads_.hung_up_part = 2;
  const std::vector<uint8_t> bytes = Pattern(3 * kMinPartBytes);
  const auto stored = WriteAll(bytes, kSmallest);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_TRUE(uploads_.hung_up);
  EXPECT_EQ(uploads_.Content(), std::string(bytes.begin(), bytes.end()));
}

// Parts are listed in their order, whatever the order in which they arrived.
TEST_F(MultipartWriterTest, CompletesInOrder) {
  Config config = testing::TestConfig(server_.url());
  config.retry = {.max_tries = 100'000,
                  .first_wait = std::chrono::milliseconds(1),
                  .max_wait = std::chrono::milliseconds(5)};
  client_ = TestClient(config);
  uploads_.first_to_arrive = 2;
  const auto stored = WriteAll(Pattern(2 * kMinPartBytes), kSmallest);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_LT(uploads_.completion.find("<PartNumber>1<"), uploads_.completion.find("<PartNumber>2<"));
}

// With memory for less than two parts it is slow, but works.
TEST_F(MultipartWriterTest, WorksWithLittleMemory) {
  MultipartWriter::Options options = kSmallest;
  options.memory_bytes = 1;
  const std::vector<uint8_t> bytes = Pattern(3 * kMinPartBytes);
  ASSERT_TRUE(WriteAll(bytes, options).ok());
  EXPECT_EQ(uploads_.Content(), std::string(bytes.begin(), bytes.end()));
}

// More than was expected, and no expectation at all.
TEST_F(MultipartWriterTest, TakesMoreThanExpected) {
  const std::vector<uint8_t> bytes = Pattern(20 << 20);
  ASSERT_TRUE(WriteAll(bytes, {.expected_bytes = 1}).ok());
  EXPECT_EQ(uploads_.Content(), std::string(bytes.begin(), bytes.end()));
  EXPECT_THAT(uploads_.parts[1], SizeIs(8 << 20));
}

// A part that is refused ends the upload, and nothing stays on the server.
TEST_F(MultipartWriterTest, AbortsAfterAFailedPart) {
  uploads_.broken_part = 2;
  const absl::Status status = WriteAll(Pattern(4 * kMinPartBytes), kSmallest).status();
  EXPECT_EQ(status.code(), Code::kPermissionDenied) << status;
  EXPECT_EQ(uploads_.completes, 0);
  EXPECT_EQ(uploads_.aborts, 1);
}

// So does an error in the answer to the completion.
TEST_F(MultipartWriterTest, AbortsAfterAFailedCompletion) {
  uploads_.complete_error = "InvalidPart";
  EXPECT_EQ(WriteAll(Pattern(2 * kMinPartBytes), kSmallest).status().code(),
            Code::kFailedPrecondition);
  EXPECT_EQ(uploads_.completes, 1);
  EXPECT_EQ(uploads_.aborts, 1);
}

// A writer that is dropped without Finish makes no object, and leaves no upload.
TEST_F(MultipartWriterTest, AbortsWhenDropped) {
  {
    MultipartWriter writer(*client_, "key", kSmallest, Soon());
    ASSERT_TRUE(writer.Write(Pattern(2 * kMinPartBytes)).ok());
  }
  EXPECT_EQ(uploads_.completes, 0);
  EXPECT_EQ(uploads_.aborts, 1);
  EXPECT_EQ(uploads_.single, "");
}

// After Abort nothing more is taken, and nothing finished.
TEST_F(MultipartWriterTest, EndsWithAbort) {
  MultipartWriter writer(*client_, "key", kSmallest, Soon());
  ASSERT_TRUE(writer.Write(Pattern(10)).ok());
  ASSERT_TRUE(writer.Abort().ok());
  EXPECT_FALSE(writer.Write(Pattern(10)).ok());
  EXPECT_FALSE(writer.Finish({}).ok());
  EXPECT_THAT(server_.received(), SizeIs(0));
}

// Finish does not make an object of what a failed Write left.
TEST_F(MultipartWriterTest, DoesNotFinishAfterAFailedWrite) {
  MultipartWriter::Options options;
  options.part_bytes = 1 << 20;  // too small: Begin fails
  MultipartWriter writer(*client_, "key", options, Soon());
  EXPECT_EQ(writer.Write(Pattern(2 << 20)).code(), Code::kInvalidArgument);
  EXPECT_EQ(writer.Finish({}).status().code(), Code::kInvalidArgument);
  EXPECT_THAT(server_.received(), SizeIs(0));
}

}  // namespace
}  // namespace cryptvol::s3
