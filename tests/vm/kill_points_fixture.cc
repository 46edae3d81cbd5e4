#include "kill_points_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>
#include <string_view>
#include <thread>

#include "fmt/format.h"

namespace cryptvol::vm {
namespace fs = std::filesystem;
namespace {

constexpr int kMostPoints = 2000;  // more are a walk that does not end
constexpr int kFewestPoints = 3;   // fewer are a library that was not loaded

std::string BuildDirectory() {
  return fs::path(TheSetup().driver).parent_path().parent_path().string();
}

std::string Library() { return BuildDirectory() + "/tests/libcryptvol_kill_points.so"; }

}  // namespace

grpc::Status KillPointsTest::Repeat(const Call& call) {
  grpc::Status status = call();
  for (int i = 0; i < 600 && status.error_code() == grpc::StatusCode::ABORTED; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    status = call();
  }
  return status;
}

void KillPointsTest::SetUp() {
  fs::remove_all(directory_);
  fs::create_directories(directory_);
  StopTheDisk();
  MapControl();
  std::vector<std::string> flags;
  std::vector<std::string> environment;
  if (counted_ == Counted::kDriverAndWorkers) {
    PreloadWorkers();
    flags = {"--worker=" + path("worker")};
    environment = {"LD_PRELOAD=" + Library(), "ASAN_OPTIONS=verify_asan_link_order=0",
                   fmt::format("{}={}", KillPoints::kVariable, path("kill-points"))};
  } else {
    ReplaceMkfs();
  }
  driver_ = std::make_unique<Driver>(directory_, flags, environment);
  driver_->Start();
}

void KillPointsTest::TearDown() {
  replaced_.clear();
  DriverTest::TearDown();
  ::munmap(control_, sizeof(KillPoints));
}

void KillPointsTest::MapControl() {
  const int fd = ::open(path("kill-points").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(0, ::ftruncate(fd, sizeof(KillPoints)));
  void* shared = ::mmap(nullptr, sizeof(KillPoints), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  ASSERT_NE(MAP_FAILED, shared);
  control_ = static_cast<KillPoints*>(shared);
}

std::string KillPointsTest::Preload() const {
  return fmt::format("{}={} ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD={} ",
                     KillPoints::kVariable, path("kill-points"), Library());
}

std::string KillPointsTest::Maintenance() const {
  return fmt::format("{}{} --state-dir={} --backend=loop:{} --worker={} ", Preload(),
                     TheSetup().driver, path("state"), path("backend"), path("worker"));
}

// Of a keyslot on a disk that rotates libcryptsetup overwrites each page dozens of times, and every
// time is a point.
void KillPointsTest::StopTheDisk() {
  if (TheSetup().everything) return;
  MustRun("disk=$(findmnt -no SOURCE --target " + directory_ +
          ") && echo 0 > /sys/class/block/${disk#/dev/}/queue/rotational");
}

// The driver gives its children an environment of its own.
void KillPointsTest::PreloadWorkers() {
  WriteFile(path("worker"), fmt::format("#!/bin/sh\n{}exec {}/bin/cryptvol-worker \"$@\"\n",
                                        Preload(), BuildDirectory()));
  fs::permissions(path("worker"), fs::perms::owner_all);
}

void KillPointsTest::ReplaceMkfs() {
  for (const std::string& filesystem : Filesystems()) {
    replaced_.push_back(std::make_unique<ReplacedProgram>(
        "/usr/sbin/mkfs." + filesystem, Preload() + "exec $REAL \"$@\"", path("tools")));
  }
}

bool KillPointsTest::DiesAt(int point, const Step& call) {
  control_->driver = driver_->pid();
  control_->count = 0;
  control_->dead = 0;
  control_->victim = victim_;
  control_->at = point;
  call();
  const bool died = control_->dead != 0;
  control_->at = 0;
  control_->dead = 0;
  return died;
}

bool KillPointsTest::Try(int point, const Step& prepare, const Call& call, const Step& check) {
  prepare();
  grpc::Status status;
  const auto start = std::chrono::steady_clock::now();
  const bool died = DiesAt(point, [&] { status = call(); });
  SCOPED_TRACE(fmt::format("killed at point {}, {}", point, control_->where));
  if (died) {
    ++deaths_[control_->where];
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    fmt::print("killed at point {} after {:.1f} s, {}\n", point, time.count(), control_->where);
    std::fflush(stdout);
    if (DriverDied()) {
      driver_->Kill();
      driver_->Start();
    } else {
      EXPECT_NE(grpc::StatusCode::UNKNOWN, status.error_code()) << status.error_message();
      EXPECT_NE(grpc::StatusCode::UNAVAILABLE, status.error_code()) << status.error_message();
      if (!status.ok()) ++answers_[status.error_message()];
    }
    status = Repeat(call);
  }
  EXPECT_CODE(OK, status);
  if (!HasFailure()) check();
  return died;
}

bool KillPointsTest::DriverDied() const {
  return victim_ != Victim::kSelf || std::string_view(control_->where).starts_with("cryptvol-csi");
}

void KillPointsTest::Report() const {
  int sum = 0;
  for (const auto& [where, count] : deaths_) sum += count;
  fmt::print("killed at {} points, of which\n", sum);
  for (const auto& [where, count] : deaths_) fmt::print("  {:4} {}\n", count, where);
  for (const auto& [message, count] : answers_) fmt::print("  {:4} answers: {}\n", count, message);
  std::fflush(stdout);
}

void KillPointsTest::Walk(const Step& prepare, const Call& call, const Step& check) {
  Walk(TheSetup().stride, prepare, call, check);
}

void KillPointsTest::WalkAlone(Victim victim, int stride, const Step& prepare, const Call& call,
                               const Step& check) {
  victim_ = victim;
  Walk(TheSetup().everything ? 1 : std::max(stride, TheSetup().stride), prepare, call, check);
  victim_ = Victim::kBoth;
}

void KillPointsTest::Walk(int stride, const Step& prepare, const Call& call, const Step& check) {
  deaths_.clear();
  answers_.clear();
  // Of the few that a short call has, one.
  int point = 1 + static_cast<int>(TheSetup().seed %
                                   static_cast<uint64_t>(std::min(stride, kFewestPoints)));
  if (stride > 1) fmt::print("every {}th point, seed {}\n", stride, TheSetup().seed);
  while (Try(point, prepare, call, check) && !HasFailure() && point < kMostPoints) point += stride;
  Report();
  EXPECT_GT(point, kFewestPoints);
  EXPECT_LT(point, kMostPoints);
  // Whatever is not preloaded has no points, and would come through untouched.
  EXPECT_FALSE(deaths_.empty());
  if (stride > 1) return;
  for (const std::string& program : at_work_) EXPECT_TRUE(SomeDiedIn(program + ": ")) << program;
}

bool KillPointsTest::SomeDiedIn(std::string_view program) const {
  return std::ranges::any_of(deaths_,
                             [&](const auto& death) { return death.first.starts_with(program); });
}

void KillPointsTest::Visit(const std::vector<int>& points, const Step& prepare, const Call& call,
                           const Step& check) {
  deaths_.clear();
  for (const int point : points) {
    Try(point, prepare, call, check);
    if (HasFailure()) break;
  }
  Report();
  EXPECT_FALSE(deaths_.empty());
}

int KillPointsTest::CountPoints(const Call& call) {
  DiesAt(std::numeric_limits<int>::max(), [&] { EXPECT_CODE(OK, call()); });
  EXPECT_GT(control_->count, kFewestPoints);
  return control_->count;
}

std::vector<std::string> KillPointsTest::Filesystems() {
  if (TheSetup().everything) return {"ext4", "xfs", "btrfs"};
  return {"ext4"};
}

int64_t KillPointsTest::SizeFor(const std::string& filesystem) {
  return filesystem == "ext4" ? 16 * kMiB : 320 * kMiB;  // xfs wants 300
}

Volume KillPointsTest::Created(const std::string& filesystem, const std::string& name) {
  Volume volume = NewVolume(fmt::format("{}-{}", name, ++volumes_));
  volume.filesystem = filesystem;
  EXPECT_CODE(OK, Create(volume, SizeFor(filesystem)));
  return volume;
}

Volume KillPointsTest::WithData(const std::string& filesystem) {
  const Volume volume = Created(filesystem);
  EXPECT_CODE(OK, Stage(volume));
  WriteData(volume);
  EXPECT_CODE(OK, Unstage(volume));
  return volume;
}

void KillPointsTest::WriteData(const Volume& volume) {
  const std::string file = volume.staging + "/file";
  MustRun("head -c 300000 /dev/urandom > " + file);
  digests_[volume.id] = Digest(file);
}

void KillPointsTest::ExpectData(const Volume& volume) {
  EXPECT_EQ(digests_[volume.id], Digest(volume.staging + "/file"));
}

void KillPointsTest::ExpectKept(const Volume& volume) {
  ASSERT_CODE(OK, Stage(volume));
  ExpectData(volume);
  ASSERT_CODE(OK, Unstage(volume));
}

void KillPointsTest::ExpectUsable(const Volume& volume) {
  WriteData(volume);
  ASSERT_CODE(OK, Unstage(volume));
  ExpectKept(volume);
}

}  // namespace cryptvol::vm
