// The directory of a loop backend: that it is the right one, and served by one driver.
#include <filesystem>

#include "loop_backend_fixture.h"

namespace cryptvol::block {
namespace {

// A directory that is gone, as one whose disk is not mounted, is an error of every call: its
// volumes are neither absent nor deleted.
TEST_F(LoopBackendTest, MissingDirectoryIsAnError) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  std::filesystem::rename(directory_, scratch_ / "elsewhere");
  EXPECT_THAT(backend_->Get("v1"), Fails(kPrecondition, directory_));
  EXPECT_THAT(backend_->Attach("v1", false), Fails(kPrecondition, directory_));
  EXPECT_THAT(backend_->Create(Spec("v2")), Fails(kPrecondition, directory_));
  EXPECT_THAT(backend_->Delete("v1"), Fails(kPrecondition, directory_));
  EXPECT_THAT(backend_->List(), Fails(kPrecondition, directory_));
  EXPECT_THAT(backend_->AvailableBytes(), Fails(kPrecondition, directory_));
  EXPECT_THAT(backend_->LoadFormatRecord("v1"), Fails(kPrecondition, directory_));
  std::filesystem::rename(scratch_ / "elsewhere", directory_);
  EXPECT_THAT(backend_->Get("v1"), IsOk());
}

// So is the empty directory that is seen when the disk is not mounted at the driver's start. Nothing is
// made in it, and the volumes are there again with the disk.
TEST_F(LoopBackendTest, AnEmptyDirectoryInItsPlaceIsAnError) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  std::filesystem::rename(directory_, scratch_ / "elsewhere");
  for (const bool volumes_too : {false, true}) {
    std::filesystem::create_directories(directory_ + (volumes_too ? "/volumes" : ""));
    auto again = OpenAgain();
    UniqueFd lock;
    EXPECT_THAT(again->LockForDriver(KeptIn(lock)), IsOk());
    EXPECT_THAT(again->Get("v1"), Fails(kPrecondition, "mounted"));
    EXPECT_THAT(again->Create(Spec("v1")), Fails(kPrecondition, "mounted"));
    EXPECT_THAT(again->Delete("v1"), Fails(kPrecondition, "mounted"));
    EXPECT_THAT(again->List(), Fails(kPrecondition, "mounted"));
    EXPECT_THAT(again->AvailableBytes(), Fails(kPrecondition, "mounted"));
    EXPECT_EQ(NamesIn(directory_).size(), volumes_too ? 1u : 0u);
    std::filesystem::remove_all(directory_);
    std::filesystem::rename(scratch_ / "elsewhere", directory_);
    EXPECT_THAT(again->Get("v1"), IsOk());
    // The lock that could not be taken at the start is.
    EXPECT_TRUE(lock.valid());
    EXPECT_THAT(OpenAgain()->LockForDriver(KeptIn(lock)), Fails(kPrecondition, "another driver"));
    std::filesystem::rename(directory_, scratch_ / "elsewhere");
  }
  std::filesystem::rename(scratch_ / "elsewhere", directory_);
}

// And another disk: its volumes may have the same names. Forgetting the old one is for a person to do.
TEST_F(LoopBackendTest, AnotherDirectoryInItsPlaceIsAnError) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  std::filesystem::rename(directory_, scratch_ / "elsewhere");
  ASSERT_THAT(LoopBackend::Open(directory_, scratch_ / "another identity").status(), IsOk());
  EXPECT_THAT(backend_->Get("v1"), Fails(kPrecondition, scratch_ / "identity"));
  EXPECT_THAT(OpenAgain()->Get("v1"), Fails(kPrecondition, "is another directory's"));
  std::filesystem::remove(scratch_ / "identity");
  EXPECT_THAT(OpenAgain()->Get("v1"), Fails(absl::StatusCode::kNotFound, "no such"));
}

// Where the node's state is new, or the directory is of a time when it had no identity, it is taken as
// it is.
TEST_F(LoopBackendTest, ADirectoryThatTheNodeDoesNotKnowIsTaken) {
  ASSERT_THAT(backend_->Create(Spec("v1")), IsOk());
  std::filesystem::remove(scratch_ / "identity");
  EXPECT_THAT(OpenAgain()->Get("v1"), IsOk());
  EXPECT_THAT(backend_->Get("v1"), IsOk());
  std::filesystem::remove(scratch_ / "identity");
  std::filesystem::remove(directory_ + "/id");
  EXPECT_THAT(OpenAgain()->Get("v1"), IsOk());
  WriteAt(scratch_ / "identity", 0, "what is this");
  const auto damaged = LoopBackend::Open(directory_, scratch_ / "identity").status();
  EXPECT_THAT(damaged, Fails(absl::StatusCode::kDataLoss, scratch_ / "identity"));
}

// One driver serves a directory; tools work beside it; the lock ends with its holder.
TEST_F(LoopBackendTest, OneDriverServesADirectory) {
  UniqueFd lock;
  ASSERT_THAT(backend_->LockForDriver(KeptIn(lock)), IsOk());
  UniqueFd another;
  EXPECT_THAT(OpenAgain()->LockForDriver(KeptIn(another)),
              Fails(kPrecondition, directory_ + "/lock"));
  EXPECT_THAT(OpenAgain()->Create(Spec("v1")), IsOk());
  backend_ = OpenAgain();  // the lock is not the object's
  EXPECT_THAT(backend_->LockForDriver(KeptIn(another)), Fails(kPrecondition, "another driver"));
  EXPECT_FALSE(another.valid());
  lock.Reset();
  EXPECT_THAT(OpenAgain()->LockForDriver(KeptIn(another)), IsOk());
  EXPECT_TRUE(another.valid());
}

}  // namespace
}  // namespace cryptvol::block
