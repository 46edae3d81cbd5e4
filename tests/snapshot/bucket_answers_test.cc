// A bucket as a target, whose server answers what a real one answers seldom.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>

#include "base/bytes.h"
#include "snapshot/bucket_target.h"
#include "tests/s3/loopback_server.h"
#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {
namespace {

using s3::testing::Answer;
using s3::testing::ErrorAnswer;
using s3::testing::Hangup;
using s3::testing::LoopbackServer;
using s3::testing::Received;
using s3::testing::Reply;
using testing::Code;
using testing::Fails;
using testing::IsOk;
using testing::Must;

constexpr char kObject[] = "20261122T093000Z-prod-6f1c2a3b9d4e5f60.age";

TargetOptions OptionsFor(const LoopbackServer& server) {
  TargetOptions options;
  options.request_timeout = std::chrono::seconds(60);
  options.environment = [url = server.url()](const std::string& name) -> std::string {
    if (name == "AWS_ENDPOINT_URL_S3") return url;
    if (name == "AWS_REGION") return "us-east-1";
    return name == "AWS_ACCESS_KEY_ID" || name == "AWS_SECRET_ACCESS_KEY" ? "test" : "";
  };
  return options;
}

// It stores the payload and loses the answer; and then it may be listed, but not read.
class WriteOnlyServer {
 public:
  // `listed_bytes`: of the payload in the listing; empty: it is not in there.
  explicit WriteOnlyServer(std::optional<size_t> listed_bytes)
      : listed_bytes_(listed_bytes),
        server_([this](const Received& request) { return Handle(request); }) {}

  absl::Status Save(const std::string& content) {
    const auto target = Must(OpenTarget("s3://bucket/etcd/prod", OptionsFor(server_)));
    const auto writer = Must(target->NewPayload(FileName::Payload(kObject), std::nullopt));
    CV_RETURN_IF_ERROR(writer->Write(AsBytes(content)));
    return writer->Finish();
  }

 private:
  Reply Handle(const Received& request) {
    if (request.method == "PUT") {
      return std::exchange(is_stored_, true) ? ErrorAnswer(412, "PreconditionFailed") : Hangup();
    }
    if (request.method != "GET" || request.target.find("list-type=2") == std::string::npos) {
      return Answer(403);
    }
    // As the condition of deploy/s3/save.json has it.
    if (request.target.find("prefix=etcd%2Fprod%2F&") == std::string::npos &&
        !request.target.ends_with("prefix=etcd%2Fprod%2F")) {
      return ErrorAnswer(403, "AccessDenied");
    }
    return Answer(200, Listing());
  }

  std::string Listing() const {
    std::string contents;
    if (listed_bytes_) {
      contents = fmt::format(
          "<Contents><Key>etcd/prod/{}</Key><LastModified>2026-11-22T09:30:00.000Z</LastModified>"
          "<ETag>\"e\"</ETag><Size>{}</Size></Contents>",
          kObject, *listed_bytes_);
    }
    return "<ListBucketResult><IsTruncated>false</IsTruncated>" + contents + "</ListBucketResult>";
  }

  const std::optional<size_t> listed_bytes_;
  bool is_stored_ = false;
  LoopbackServer server_;
};

// With credentials that may only write, a payload whose answer was lost is found by its name and
// size.
TEST(BucketAnswers, FindAPayloadThatMayNotBeRead) {
  EXPECT_THAT(WriteOnlyServer(10).Save("0123456789"), IsOk());
  EXPECT_THAT(WriteOnlyServer(9).Save("0123456789"), Fails(Code::kUnavailable, ""));
  EXPECT_THAT(WriteOnlyServer(std::nullopt).Save("0123456789"), Fails(Code::kUnavailable, ""));
}

// What is no S3 server, or a download whose length is wrong, is no sign that anything was altered.
TEST(BucketAnswers, AreNoTamperingWhenTheyAreNotUnderstood) {
  const LoopbackServer login([](const Received&) {
    return Answer(200, "<html><body>Please log in</body></html>", "Content-Type: text/html\r\n");
  });
  const auto target = Must(OpenTarget("s3://bucket/x", OptionsFor(login)));
  EXPECT_THAT(target->List(), Fails(Code::kUnavailable, "is this an S3 server?"));

  const LoopbackServer shorter([](const Received& request) {
    if (request.method == "HEAD") {
      return Reply{.bytes = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 100\r\n\r\n"};
    }
    return Answer(206, "0123", "Content-Range: bytes 0-9/100\r\nETag: \"e\"\r\n");
  });
  const auto bucket = Must(OpenTarget("s3://bucket/x", OptionsFor(shorter)));
  const auto payload = Must(bucket->OpenPayload(FileName::Payload(kObject)));
  std::array<uint8_t, 10> buffer;
  EXPECT_THAT(payload->ReadAt(0, buffer), Fails(Code::kUnavailable, ""));
}

}  // namespace
}  // namespace cryptvol::snapshot
