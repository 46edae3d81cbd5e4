// The client against a real server: e2e/s3 starts one and runs this. Wants AWS_ENDPOINT_URL_S3 and
// credentials in the environment; makes a bucket of its own and leaves it behind, since the client
// removes no buckets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "base/status.h"
#include "s3/client.h"
#include "s3/multipart_writer.h"
#include "s3/object_range_source.h"
#include "s3/part_sizes.h"
#include "s3/requester.h"

namespace cryptvol::s3 {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAreArray;

using Code = absl::StatusCode;

Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

std::vector<uint8_t> Pattern(size_t size, uint8_t seed = 0) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<uint8_t>(i ^ (i >> 8) ^ (i >> 16) ^ seed);
  }
  return bytes;
}

class BytesSink : public ByteSink {
 public:
  absl::Status Write(std::span<const uint8_t> more) override {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return absl::OkStatus();
  }
  std::vector<uint8_t> bytes;
};

class Server : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const Environment environment = ProcessEnvironment();
    const auto config = ConfigFromEnvironment(environment);
    ASSERT_TRUE(config.ok()) << config.status();
    ASSERT_FALSE(config->endpoint.empty()) << "set AWS_ENDPOINT_URL_S3";
    config_ = *config;
    const std::string bucket = fmt::format("cryptvol-test-{}", ::getpid());
    std::shared_ptr<CredentialsProvider> credentials = DefaultCredentials(environment);
    auto requester = Requester::Create(config_, bucket, credentials);
    ASSERT_TRUE(requester.ok()) << requester.status();
    const absl::Status made =
        (*requester)->Send({.operation = "CreateBucket", .method = "PUT"}, Soon()).status();
    ASSERT_TRUE(made.ok()) << made;
    auto client = Client::Create(config_, bucket, credentials);
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }
  void SetUp() override { ASSERT_NE(client_, nullptr) << "the set-up failed"; }
  static void TearDownTestSuite() { client_.reset(); }

  // A folder of the test's own.
  const std::string folder_ =
      FolderPrefix(::testing::UnitTest::GetInstance()->current_test_info()->name());

  absl::StatusOr<StoredObject> Put(const std::string& name, std::string_view text,
                                   const PutOptions& options = {}) {
    return client_->PutObject(folder_ + name, AsBytes(text), options, Soon());
  }

  std::string Get(const std::string& name) {
    BytesSink sink;
    const absl::Status status = client_->GetObject(folder_ + name, {}, sink, Soon()).status();
    return status.ok() ? std::string(sink.bytes.begin(), sink.bytes.end()) : status.ToString();
  }

  std::vector<std::string> List(const std::string& prefix) {
    const auto listing = client_->ListObjects({.prefix = prefix}, Soon());
    EXPECT_TRUE(listing.ok()) << listing.status();
    std::vector<std::string> keys;
    if (!listing.ok()) return keys;
    for (const ListedObject& object : listing->objects) keys.push_back(object.key);
    return keys;
  }

  // In parts of the smallest size.
  absl::StatusOr<StoredObject> Write(const std::string& name, std::span<const uint8_t> bytes,
                                     const WriteConditions& conditions = {}) {
    MultipartWriter writer(*client_, folder_ + name, {.part_bytes = kMinPartBytes}, Soon());
    CV_RETURN_IF_ERROR(writer.Write(bytes));
    return writer.Finish(conditions);
  }

  static inline Config config_;
  static inline std::unique_ptr<Client> client_;
};

// What was put is what comes back, with its size, ETag and metadata.
TEST_F(Server, PutsAndGets) {
  const auto stored = Put("object", "the content", {.metadata = {{"run", "a b"}}});
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(Get("object"), "the content");
  const auto info = client_->HeadObject(folder_ + "object", Soon());
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->size, 11u);
  EXPECT_EQ(info->etag, stored->etag);
  EXPECT_EQ(info->metadata, (Metadata{{"run", "a b"}}));
  ASSERT_TRUE(Put("empty", "").ok());
  EXPECT_EQ(Get("empty"), "");
}

// A checksum that the server compares: the right one passes, a wrong one does not.
TEST_F(Server, ComparesDigests) {
  EXPECT_TRUE(Put("right", "abc", {.content_sha256 = Sha256(AsBytes("abc"))}).ok());
  const absl::Status status =
      Put("wrong", "abc", {.content_sha256 = Sha256(AsBytes("abd"))}).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(List(folder_), ElementsAre(folder_ + "right"));
}

// Any byte that a key may hold survives put, list, get and delete.
TEST_F(Server, TakesOddKeys) {
  std::vector<std::string> keys;
  for (const char* name : {"new\nline", "carriage\rreturn", "unicode-\xc3\xa9\xe6\x97\xa5", "a+b",
                           "a b", " lead", "trail ", "100%", "%2F", "a&b=c?d#e", "a\"b'c<d>",
                           "dot.", "~tilde", "(par)*!", "semi;colon,"}) {
    ASSERT_TRUE(Put(name, name).ok()) << name;
    keys.push_back(folder_ + name);
  }
  EXPECT_THAT(List(folder_), UnorderedElementsAreArray(keys));
  for (const std::string& key : keys) {
    const std::string name = key.substr(folder_.size());
    EXPECT_EQ(Get(name), name);
    const absl::Status deleted = client_->DeleteObject(key, Soon());
    EXPECT_TRUE(deleted.ok()) << deleted;
  }
  EXPECT_THAT(List(folder_), IsEmpty());
}

// A key that XML cannot hold: it is put, read and deleted as any other. Listed it is right only by
// servers that know encoding-type=url; the others put U+FFFD in its place. Either way the other keys
// of the listing come out right.
TEST_F(Server, TakesKeysThatXmlCannotHold) {
  ASSERT_TRUE(Put("esc\x1b[2J", "content").ok());
  ASSERT_TRUE(Put("plain", "").ok());
  EXPECT_EQ(Get("esc\x1b[2J"), "content");
  EXPECT_THAT(List(folder_),
              ElementsAre(AnyOf(folder_ + "esc\x1b[2J", folder_ + "esc\xef\xbf\xbd[2J"),
                          folder_ + "plain"));
  EXPECT_TRUE(client_->DeleteObject(folder_ + "esc\x1b[2J", Soon()).ok());
  EXPECT_THAT(List(folder_), ElementsAre(folder_ + "plain"));
}

// Ranges of an object, up to its end and beyond.
TEST_F(Server, ReadsRanges) {
  const auto stored = Put("object", "0123456789");
  ASSERT_TRUE(stored.ok()) << stored.status();
  std::vector<uint8_t> buffer(4);
  const std::string key = folder_ + "object";
  ASSERT_TRUE(client_->ReadRange(key, 6, buffer, stored->etag, Soon()).ok());
  EXPECT_EQ(std::string(buffer.begin(), buffer.end()), "6789");
  EXPECT_EQ(client_->ReadRange(key, 7, buffer, "", Soon()).code(), Code::kOutOfRange);
  EXPECT_EQ(client_->ReadRange(key, 10, buffer, "", Soon()).code(), Code::kOutOfRange);
  const absl::Status other = client_->ReadRange(key, 6, buffer, "\"other\"", Soon());
  EXPECT_EQ(other.code(), Code::kFailedPrecondition) << other;
}

// What is not there, in words that tell one from the other.
TEST_F(Server, SaysWhatIsMissing) {
  const absl::Status object = client_->HeadObject(folder_ + "none", Soon()).status();
  EXPECT_EQ(object.code(), Code::kNotFound) << object;
  EXPECT_THAT(Get("none"), HasSubstr("no such object"));
  EXPECT_TRUE(client_->DeleteObject(folder_ + "none", Soon()).ok());
  const auto elsewhere =
      Client::Create(config_, "no-such-bucket-here", DefaultCredentials(ProcessEnvironment()));
  EXPECT_THAT(Message((*elsewhere)->ListObjects({}, Soon()).status()), HasSubstr("no such bucket"));
}

// A wrong key and an unknown one have their own words.
TEST_F(Server, SaysWhichCredentialIsWrong) {
  const auto list_as = [](const std::string& id, const std::string& secret) {
    const auto client = Client::Create(
        config_, "any-bucket", RenewingCredentials([=](Deadline) -> absl::StatusOr<Credentials> {
          Credentials credentials;
          credentials.access_key_id = id;
          CV_ASSIGN_OR_RETURN(credentials.secret_access_key, SecretBytes::CopyOf(secret));
          return credentials;
        }));
    return (*client)->ListObjects({}, Soon()).status();
  };
  const absl::Status wrong = list_as(ProcessEnvironment()("AWS_ACCESS_KEY_ID"), "wrong");
  EXPECT_EQ(wrong.code(), Code::kUnauthenticated) << wrong;
  EXPECT_THAT(Message(wrong), HasSubstr("SignatureDoesNotMatch"));
  const absl::Status unknown = list_as("NOBODY", "wrong");
  EXPECT_EQ(unknown.code(), Code::kUnauthenticated) << unknown;
  EXPECT_THAT(Message(unknown), HasSubstr("InvalidAccessKeyId"));
}

// More keys than one page takes; a folder does not list its neighbour's; folders with a delimiter.
TEST_F(Server, ListsPages) {
  std::vector<std::string> keys;
  for (int i = 0; i < 260; ++i) {
    keys.push_back(folder_ + fmt::format("prod/{:03}", i));
    ASSERT_TRUE(client_->PutObject(keys.back(), {}, {}, Soon()).ok());
  }
  ASSERT_TRUE(Put("prod2/x", "").ok());
  EXPECT_THAT(List(FolderPrefix(folder_ + "prod")), UnorderedElementsAreArray(keys));
  EXPECT_THAT(List(folder_ + "prod"), SizeIs(261));
  const auto folders = client_->ListObjects({.prefix = folder_, .delimiter = "/"}, Soon());
  ASSERT_TRUE(folders.ok()) << folders.status();
  EXPECT_THAT(folders->common_prefixes, ElementsAre(folder_ + "prod/", folder_ + "prod2/"));
  EXPECT_THAT(folders->objects, IsEmpty());
}

// A stream of several parts becomes one object, which can be read anywhere.
TEST_F(Server, WritesAndReadsInParts) {
  const std::vector<uint8_t> bytes = Pattern(3 * kMinPartBytes + 12345);
  const auto stored = Write("object", bytes);
  ASSERT_TRUE(stored.ok()) << stored.status();
  const auto source =
      ObjectRangeSource::Open(*client_, folder_ + "object", std::chrono::seconds(30));
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_EQ((*source)->size(), bytes.size());
  std::vector<uint8_t> piece(100'000);
  const size_t across = 2 * kMinPartBytes - 50'000;
  ASSERT_TRUE((*source)->ReadAt(across, piece).ok());
  EXPECT_TRUE(std::equal(piece.begin(), piece.end(), bytes.begin() + across));
  BytesSink sink;
  ASSERT_TRUE(client_->GetObject(folder_ + "object", {}, sink, Soon()).ok());
  EXPECT_TRUE(sink.bytes == bytes);
  EXPECT_THAT(*client_->ListMultipartUploads(folder_, Soon()), IsEmpty());
}

// A new beginning, and the rest copied on the server: what new recipients of an object are.
TEST_F(Server, CopiesParts) {
  const std::vector<uint8_t> bytes = Pattern(2 * kMinPartBytes + 1000);
  const auto old = Write("old", bytes);
  ASSERT_TRUE(old.ok()) << old.status();
  const auto upload = client_->CreateMultipartUpload(folder_ + "new", {}, Soon());
  ASSERT_TRUE(upload.ok()) << upload.status();
  std::vector<uint8_t> expected = Pattern(kMinPartBytes, 0x55);
  const auto first = client_->UploadPart(*upload, 1, expected, Soon());
  ASSERT_TRUE(first.ok()) << first.status();
  const Client::CopySource rest = {.key = folder_ + "old",
                                   .offset = kMinPartBytes,
                                   .length = kMinPartBytes + 1000,
                                   .if_match = old->etag};
  const auto second = client_->UploadPartCopy(*upload, 2, rest, Soon());
  ASSERT_TRUE(second.ok()) << second.status();
  Client::CopySource changed = rest;
  changed.if_match = "\"another\"";
  const absl::Status refused = client_->UploadPartCopy(*upload, 2, changed, Soon()).status();
  EXPECT_EQ(refused.code(), Code::kFailedPrecondition) << refused;
  const std::vector<UploadedPart> parts = {*first, *second};
  const auto stored = client_->CompleteMultipartUpload(*upload, parts, {}, Soon());
  ASSERT_TRUE(stored.ok()) << stored.status();
  expected.insert(expected.end(), bytes.begin() + kMinPartBytes, bytes.end());
  BytesSink sink;
  ASSERT_TRUE(client_->GetObject(folder_ + "new", {}, sink, Soon()).ok());
  EXPECT_TRUE(sink.bytes == expected);
}

// A part that is too small is refused at the end, and the error says so.
TEST_F(Server, RefusesSmallParts) {
  const auto upload = client_->CreateMultipartUpload(folder_ + "object", {}, Soon());
  ASSERT_TRUE(upload.ok()) << upload.status();
  const auto one = client_->UploadPart(*upload, 1, AsBytes("small"), Soon());
  const auto two = client_->UploadPart(*upload, 2, AsBytes("last"), Soon());
  ASSERT_TRUE(one.ok() && two.ok());
  const std::vector<UploadedPart> parts = {*one, *two};
  const absl::Status status = client_->CompleteMultipartUpload(*upload, parts, {}, Soon()).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << status;
  EXPECT_THAT(Message(status), HasSubstr("5 MiB"));
  EXPECT_TRUE(client_->AbortMultipartUpload(*upload, Soon()).ok());
}

// Uploads that were begun are found, with odd keys too, and gone after an abort.
TEST_F(Server, ListsAndAbortsUploads) {
  for (const char* name : {"one", "two +%\xc3\xa9", "new\nline"}) {
    const auto upload = client_->CreateMultipartUpload(folder_ + name, {}, Soon());
    ASSERT_TRUE(upload.ok()) << upload.status();
    const auto uploads = client_->ListMultipartUploads(folder_, Soon());
    ASSERT_TRUE(uploads.ok()) << uploads.status();
    EXPECT_THAT(*uploads, ElementsAre(AllOf(Field(&Upload::key, folder_ + name),
                                            Field(&Upload::id, upload->id))));
    ASSERT_TRUE(client_->AbortMultipartUpload(*upload, Soon()).ok());
    EXPECT_THAT(*client_->ListMultipartUploads(folder_, Soon()), IsEmpty());
    EXPECT_TRUE(client_->AbortMultipartUpload(*upload, Soon()).ok());
    const absl::Status gone = client_->UploadPart(*upload, 1, AsBytes("x"), Soon()).status();
    EXPECT_EQ(gone.code(), Code::kNotFound) << gone;
  }
}

// A writer that is dropped leaves neither object nor upload.
TEST_F(Server, AbortsADroppedWriter) {
  {
    MultipartWriter writer(*client_, folder_ + "object", {.part_bytes = kMinPartBytes}, Soon());
    ASSERT_TRUE(writer.Write(Pattern(2 * kMinPartBytes)).ok());
    EXPECT_THAT(*client_->ListMultipartUploads(folder_, Soon()), SizeIs(1));
  }
  EXPECT_THAT(*client_->ListMultipartUploads(folder_, Soon()), IsEmpty());
  EXPECT_THAT(List(folder_), IsEmpty());
}

// Of eight writers at once that must not replace anything, one wins, and its content stays.
TEST_F(Server, LetsOneOfEightWritersWin) {
  std::array<Code, 8> codes;
  std::vector<std::thread> writers;
  for (size_t i = 0; i < codes.size(); ++i) {
    writers.emplace_back([&, i] {
      codes[i] =
          Put("object", fmt::format("writer {}", i), {.conditions = {.must_not_exist = true}})
              .status()
              .code();
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(std::ranges::count(codes, Code::kOk), 1);
  EXPECT_EQ(std::ranges::count(codes, Code::kAlreadyExists), 7);
  const auto winner = std::ranges::find(codes, Code::kOk) - codes.begin();
  EXPECT_EQ(Get("object"), fmt::format("writer {}", winner));
}

// The same at the completion of uploads.
TEST_F(Server, LetsOneOfEightUploadsWin) {
  std::array<Code, 8> codes;
  std::vector<std::thread> writers;
  for (size_t i = 0; i < codes.size(); ++i) {
    writers.emplace_back([&, i] {
      const std::vector<uint8_t> bytes = Pattern(kMinPartBytes + 1, static_cast<uint8_t>(i));
      codes[i] = Write("object", bytes, {.must_not_exist = true}).status().code();
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(std::ranges::count(codes, Code::kOk), 1);
  EXPECT_EQ(std::ranges::count(codes, Code::kAlreadyExists), 7);
  std::vector<uint8_t> last(1);
  ASSERT_TRUE(client_->ReadRange(folder_ + "object", kMinPartBytes, last, "", Soon()).ok());
  const auto winner = static_cast<size_t>(std::ranges::find(codes, Code::kOk) - codes.begin());
  EXPECT_EQ(last,
            std::vector<uint8_t>{Pattern(kMinPartBytes + 1, static_cast<uint8_t>(winner)).back()});
  EXPECT_THAT(*client_->ListMultipartUploads(folder_, Soon()), IsEmpty());
}

// Replacing only what was read, by put and by upload.
TEST_F(Server, ReplacesOnlyWhatWasRead) {
  const auto first = Put("object", "first");
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Put("object", "second", {.conditions = {.if_match = first->etag}});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(Put("object", "third", {.conditions = {.if_match = first->etag}}).status().code(),
            Code::kFailedPrecondition);
  const std::vector<uint8_t> bytes = Pattern(kMinPartBytes + 1);
  EXPECT_EQ(Write("object", bytes, {.if_match = first->etag}).status().code(),
            Code::kFailedPrecondition);
  EXPECT_EQ(Get("object"), "second");
  const auto replaced = Write("object", bytes, {.if_match = second->etag});
  EXPECT_TRUE(replaced.ok()) << replaced.status();
}

// Content-MD5 is one that the server accepts.
TEST_F(Server, AcceptsContentMd5) {
  Config config = config_;
  config.content_md5 = true;
  const auto client = Client::Create(config, fmt::format("cryptvol-test-{}", ::getpid()),
                                     DefaultCredentials(ProcessEnvironment()));
  const auto stored = (*client)->PutObject(folder_ + "object", AsBytes("x"), {}, Soon());
  EXPECT_TRUE(stored.ok()) << stored.status();
}

}  // namespace
}  // namespace cryptvol::s3
