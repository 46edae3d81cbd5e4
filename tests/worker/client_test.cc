// A real worker process.
#include "worker/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "loop_fixture.h"

namespace cryptvol::worker {
namespace {

using ::testing::HasSubstr;

class ClientTest : public LoopTest {
 protected:
  ClientFactory workers_{CRYPTVOL_WORKER};
};

// A real worker process answers, over several calls.
TEST_F(ClientTest, CallsAWorkerProcess) {
  auto worker = workers_.New(nullptr);
  auto inspection = worker->Inspect(device_, InTime());
  ASSERT_TRUE(inspection.ok()) << inspection.status();
  EXPECT_EQ(uint64_t{64} << 20, inspection->device.size_bytes);
  auto zero = worker->DataReadsZero(device_, 16 << 20, InTime());
  ASSERT_TRUE(zero.ok()) << zero.status();
  EXPECT_TRUE(*zero);
  EXPECT_EQ(absl::StatusCode::kNotFound, worker->Inspect("/dev/absent", InTime()).status().code());
  EXPECT_EQ(absl::StatusCode::kFailedPrecondition,
            worker->Inspect(image_, InTime()).status().code());
}

// A call that takes too long ends the worker, and every later call says the same.
TEST_F(ClientTest, StopsAWorkerAtTheDeadline) {
  auto worker = workers_.New(nullptr);
  const absl::Status status =
      worker->Inspect(device_, Deadline::After(std::chrono::milliseconds(0))).status();
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, status.code());
  EXPECT_THAT(cryptvol::Message(status), HasSubstr("inspect did not end in time"));
  EXPECT_EQ(status, worker->Sync(device_, InTime()));
  EXPECT_EQ(0, workers_.abandoned());
}

// A program that is not there is an error of the first call.
TEST_F(ClientTest, ReportsAMissingProgram) {
  ClientFactory broken("/nonexistent/cryptvol-worker");
  EXPECT_EQ(absl::StatusCode::kNotFound, broken.New(nullptr)->Sync(device_, InTime()).code());
}

}  // namespace
}  // namespace cryptvol::worker
