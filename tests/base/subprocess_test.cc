#include "base/subprocess.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/status.h"

namespace cryptvol {
namespace {

using ::testing::HasSubstr;

Deadline InTime() { return Deadline::After(std::chrono::seconds(30)); }

Command Shell(const std::string& script) { return {"sh", {"-c", script}, {}}; }

// Both streams and the exit status come back.
TEST(RunCommand, GivesOutputAndStatus) {
  auto result = RunCommand(Shell("echo out; echo err >&2; exit 7"), InTime());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ("out\n", result->out);
  EXPECT_EQ("err\n", result->err);
  EXPECT_EQ(7, result->exit_status);
  EXPECT_EQ("exit status 7: err", result->Complaint());
}

// A program that a signal ended has no exit status.
TEST(RunCommand, TellsASignal) {
  auto result = RunCommand(Shell("kill -TERM $$"), InTime());
  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->ok());
  EXPECT_EQ(SIGTERM, result->signal);
}

// Nothing of our environment, where credentials live, reaches a child.
TEST(RunCommand, PassesNoEnvironment) {
  ::setenv("CRYPTVOL_TEST_CREDENTIAL", "leak", 1);
  ::unsetenv("DM_DISABLE_UDEV");
  auto result = RunCommand({"env", {}, {}}, InTime());
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(fmt::format("PATH={}\nLC_ALL=C\n", kToolPath), result->out);
}

// More output than there is room for is dropped, and the program still ends.
TEST(RunCommand, BoundsTheOutput) {
  Command command = Shell("head -c 1000000 /dev/zero | tr '\\0' x");
  command.max_output = 1000;
  auto result = RunCommand(command, InTime());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(std::string(1000, 'x'), result->out);
}

// One that does not end is killed with its children, and the error names it.
TEST(RunCommand, KillsAtTheDeadline) {
  const auto start = std::chrono::steady_clock::now();
  auto result =
      RunCommand(Shell("sleep 600 & sleep 600"), Deadline::After(std::chrono::milliseconds(200)));
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, result.status().code());
  EXPECT_THAT(Message(result.status()), HasSubstr("sh did not end in time"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

// A grandchild that keeps the pipes open does not keep us waiting.
TEST(RunCommand, DoesNotWaitForGrandchildren) {
  auto result = RunCommand(Shell("sleep 5 & echo done"), Deadline::After(std::chrono::seconds(4)));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ("done\n", result->out);
}

// A program that is not there is named, so that its package can be installed.
TEST(RunCommand, NamesAMissingProgram) {
  auto result = RunCommand({"mkfs.nothing", {}, {}}, InTime());
  EXPECT_EQ(absl::StatusCode::kFailedPrecondition, result.status().code());
  EXPECT_THAT(Message(result.status()), HasSubstr("mkfs.nothing is not installed"));
}

// An inherited descriptor arrives under its number, and nothing else does.
TEST(RunCommand, InheritsWhatIsNamedAndNothingElse) {
  UniqueFd fd(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  UniqueFd other(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  Command command = Shell("ls -l /proc/self/fd");
  command.inherit = {{fd.get(), 9}};
  auto result = RunCommand(command, InTime());
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->out, HasSubstr(" 9 -> /dev/zero"));
  EXPECT_EQ(result->out.find("/dev/zero"), result->out.rfind("/dev/zero"));
}

// Descriptors may be exchanged: the list is applied as a whole.
TEST(Spawn, AppliesDescriptorsAsAWhole) {
  UniqueFd zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  UniqueFd full(::open("/dev/full", O_RDWR | O_CLOEXEC));
  Command command = Shell("readlink /proc/self/fd/$0 /proc/self/fd/$1");
  command.args.push_back(std::to_string(full.get()));
  command.args.push_back(std::to_string(zero.get()));
  command.inherit = {{zero.get(), full.get()}, {full.get(), zero.get()}};
  auto result = RunCommand(command, InTime());
  ASSERT_TRUE(result.ok());
  EXPECT_EQ("/dev/zero\n/dev/full\n", result->out);
}

}  // namespace
}  // namespace cryptvol
