// The directory of saved headers, as a worker makes it.
#include "worker/escrow.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

namespace cryptvol::worker {
namespace {

namespace fs = std::filesystem;

// It is made with its parents, for its owner alone; one that is there already stays as it is.
TEST(EscrowDirectory, IsMadeForItsOwner) {
  std::string top = ::testing::TempDir() + "/escrow-XXXXXX";
  ASSERT_NE(nullptr, ::mkdtemp(top.data()));
  const fs::path made = fs::path(top) / "a" / "b";
  EXPECT_TRUE(MakeEscrowDirectory(made).ok());
  EXPECT_EQ(fs::perms::owner_all, fs::status(made).permissions());
  fs::permissions(made, fs::perms::all);
  EXPECT_TRUE(MakeEscrowDirectory(made).ok());
  EXPECT_EQ(fs::perms::all, fs::status(made).permissions());
  fs::remove_all(top);
}

}  // namespace
}  // namespace cryptvol::worker
