// A bucket as a target, on a real server: e2e/s3 starts one and runs this. Wants AWS_ENDPOINT_URL_S3
// and credentials in the environment; makes a bucket of its own and leaves it behind.
#include "snapshot/bucket_target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "s3/credentials.h"
#include "s3/multipart_writer.h"
#include "s3/part_sizes.h"
#include "s3/requester.h"
#include "snapshot/prune.h"
#include "snapshot/rewrap.h"
#include "snapshot/verify.h"
#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {
namespace {

using testing::Code;
using testing::Fails;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Keys;
using testing::LoadText;
using testing::Must;
using testing::Noise;
using testing::OptionsOf;
using testing::Read;
using testing::SaveText;
using ::testing::SizeIs;

class Bucket : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const s3::Environment environment = s3::ProcessEnvironment();
    ASSERT_NE(environment("AWS_ENDPOINT_URL_S3"), "") << "run it with e2e/s3";
    const s3::Config config = Must(s3::ConfigFromEnvironment(environment));
    std::shared_ptr<s3::CredentialsProvider> credentials = s3::DefaultCredentials(environment);
    const auto requester = Must(s3::Requester::Create(config, bucket_, credentials));
    ASSERT_THAT(requester->Send({.operation = "CreateBucket", .method = "PUT"}, Soon()), IsOk());
    client_ = Must(s3::Client::Create(config, bucket_, credentials));
  }
  static void TearDownTestSuite() { client_.reset(); }

  static Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }
  std::unique_ptr<Target> Open(const std::string& prefix) {
    return Must(OpenTarget("s3://" + bucket_ + "/" + prefix, {.part_bytes = s3::kMinPartBytes}));
  }

  static inline const std::string bucket_ = fmt::format("cryptsnap-test-{}", ::getpid());
  static inline std::unique_ptr<s3::Client> client_;
  const Keys keys_;
  const Keys other_;
  const std::string prefix_ = ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::unique_ptr<Target> target_ = Open(prefix_);
};

// Small and in several parts; a neighbour with a longer name is not in the listing.
TEST_F(Bucket, SavesAndLoads) {
  for (const size_t size : {size_t{10}, 3 * s3::kMinPartBytes}) {
    const std::string text = Noise(size);
    ASSERT_THAT(SaveText(*target_, text, OptionsOf(keys_)), IsOk());
    const auto back = LoadText(*target_, keys_);
    ASSERT_THAT(back, IsOk());
    EXPECT_TRUE(*back == text);
  }
  const auto neighbour = Open(prefix_ + "2");
  Must(SaveText(*neighbour, "x", OptionsOf(keys_)));
  const Catalog catalog = Read(*target_, keys_);
  EXPECT_THAT(SelectBackups(catalog, {}), SizeIs(2));
  EXPECT_THAT(catalog.Alarms(), IsEmpty());
  EXPECT_EQ(catalog.foreign_count, 0u);
}

// Nothing replaces what is there; what is absent is said to be.
TEST_F(Bucket, CreatesAndNeverReplaces) {
  const FileName name = FileName::Manifest("1F2E3D4C5B6A7988", 1);
  ASSERT_THAT(target_->Create(name, "one"), IsOk());
  EXPECT_THAT(target_->Create(name, "two"), Fails(Code::kAlreadyExists, ""));
  EXPECT_EQ(Must(target_->Read(name, 3)), "one");
  EXPECT_THAT(target_->Read(name, 2), Fails(Code::kResourceExhausted, "more than 2"));
  EXPECT_THAT(target_->Remove(name), IsOk());
  EXPECT_THAT(target_->Read(name, 3), Fails(Code::kNotFound, ""));
}

// Four writers with one key at once: a chain without gap or fork.
TEST_F(Bucket, TakesWritersAtOnce) {
  std::array<absl::Status, 4> results;
  std::vector<std::thread> writers;
  for (size_t i = 0; i < results.size(); ++i) {
    writers.emplace_back([&, i] {
      results[i] = SaveText(*target_, fmt::format("{}", i), OptionsOf(keys_)).status();
    });
  }
  for (std::thread& writer : writers) writer.join();
  for (const absl::Status& status : results) EXPECT_THAT(status, IsOk());
  const Catalog catalog = Read(*target_, keys_);
  EXPECT_THAT(SelectBackups(catalog, {}), SizeIs(4));
  EXPECT_THAT(catalog.Alarms(), IsEmpty());
}

// New recipients: a small object is sent again, a large one copied by the server.
TEST_F(Bucket, Rewraps) {
  for (const size_t size : {size_t{10}, 3 * s3::kMinPartBytes + 5}) {
    const std::string text = Noise(size);
    Must(SaveText(*target_, text, OptionsOf(keys_)));
    const Catalog catalog = Read(*target_, keys_);
    const Entry* entry = Must(SelectNewest(catalog, {}));
    ASSERT_THAT(RewrapBackup(*target_, *entry,
                             {.identities = &keys_.identities, .recipients = &other_.recipients}),
                IsOk());
    EXPECT_THAT(VerifyBackup(*target_, *entry, {.identities = &other_.identities}), IsOk());
    EXPECT_THAT(VerifyBackup(*target_, *entry, {.identities = &keys_.identities}),
                Fails(Code::kUnauthenticated, ""));
  }
  EXPECT_THAT(Must(client_->ListMultipartUploads(prefix_, Soon())), IsEmpty());
}

// A payload that was replaced since it was read keeps what it has now.
TEST_F(Bucket, RewrapsOnlyWhatWasRead) {
  for (const size_t size : {size_t{10}, 2 * s3::kMinPartBytes}) {
    const SaveResult saved = Must(SaveText(*target_, Noise(size), OptionsOf(keys_)));
    const FileName name = FileName::Payload(saved.manifest.backup()->object);
    const auto current = Must(target_->OpenPayload(name));
    const NewHeader header{.bytes = std::string(16384, 'b'), .old_bytes = 16384};
    ASSERT_THAT(target_->ReplaceHeader(name, header, *current), IsOk());
    EXPECT_THAT(target_->ReplaceHeader(name, header, *current),
                Fails(Code::kFailedPrecondition, ""));
  }
}

// Uploads of ours that nobody finished go, others' stay, and so do young ones.
TEST_F(Bucket, AbortsAbandonedUploads) {
  const std::string folder = prefix_ + "/";
  const std::string ours = folder + "20261122T093000Z-prod-6f1c2a3b9d4e5f60.age";
  ASSERT_THAT(client_->CreateMultipartUpload(ours, {}, Soon()), IsOk());
  ASSERT_THAT(client_->CreateMultipartUpload(folder + "another", {}, Soon()), IsOk());
  EXPECT_THAT(Must(target_->AbortAbandoned(SystemTime() - std::chrono::hours(1), false)),
              IsEmpty());
  const Timestamp soon = SystemTime() + std::chrono::hours(1);
  EXPECT_THAT(Must(target_->AbortAbandoned(soon, /*dry_run=*/true)), SizeIs(1));
  EXPECT_THAT(Must(target_->AbortAbandoned(soon, /*dry_run=*/false)), SizeIs(1));
  const auto left = Must(client_->ListMultipartUploads(folder, Soon()));
  ASSERT_THAT(left, SizeIs(1));
  EXPECT_EQ(left[0].key, folder + "another");
}

// A save that fails leaves neither object nor upload.
TEST_F(Bucket, LeavesNothingOfAFailedSave) {
  testing::TextSource source(Noise(3 * s3::kMinPartBytes), 65536, absl::UnavailableError("broken"));
  EXPECT_THAT(SaveStream(*target_, source, OptionsOf(keys_)), Fails(Code::kUnavailable, "broken"));
  EXPECT_THAT(Must(target_->List()).files, IsEmpty());
  EXPECT_THAT(Must(client_->ListMultipartUploads(prefix_, Soon())), IsEmpty());
}

// Pruned, and the gap explained.
TEST_F(Bucket, Prunes) {
  for (int i = 0; i < 3; ++i) Must(SaveText(*target_, "text", OptionsOf(keys_)));
  ASSERT_THAT(Prune(*target_, {.policy = {.last = 1}, .signing_key = &keys_.signing}), IsOk());
  const Catalog catalog = Read(*target_, keys_);
  EXPECT_THAT(SelectBackups(catalog, {}), SizeIs(1));
  EXPECT_THAT(catalog.Alarms(), IsEmpty());
  EXPECT_THAT(Must(target_->List()).files, SizeIs(5));  // a backup's three, a prune entry's two
}

// A wrong credential is not taken for a wrong identity.
TEST_F(Bucket, TellsCredentialsFromIdentities) {
  TargetOptions options;
  options.environment = [](const std::string& name) {
    return name == "AWS_SECRET_ACCESS_KEY" ? "wrong" : s3::ProcessEnvironment()(name);
  };
  const auto wrong = Must(OpenTarget("s3://" + bucket_ + "/x", options));
  EXPECT_THAT(wrong->List(), Fails(Code::kPermissionDenied, "SignatureDoesNotMatch"));
}

}  // namespace
}  // namespace cryptvol::snapshot
