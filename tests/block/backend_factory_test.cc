#include "block/backend_factory.h"

#include "testing.h"

namespace cryptvol::block {
namespace {

// A loop backend answers to the very name it was opened by, and makes its directory.
TEST(OpenBackendTest, OpensALoopBackend) {
  ScratchDirectory scratch;
  const std::string spec = "loop:" + scratch / "new/volumes";
  auto backend = OpenBackend(spec, scratch / "state");
  ASSERT_THAT(backend, IsOk());
  EXPECT_EQ((*backend)->name(), spec);
  EXPECT_THAT(Must((*backend)->List()), testing::IsEmpty());
}

// An unknown kind, or none, is refused with the kinds that there are.
TEST(OpenBackendTest, NamesTheKnownKinds) {
  for (const char* spec : {"", "loop", "zfs:tank", "/var/lib/cryptvol"}) {
    EXPECT_THAT(OpenBackend(spec, "/nowhere"),
                Fails(absl::StatusCode::kInvalidArgument, "loop:DIRECTORY"));
  }
}

// A relative directory would depend on where the driver was started.
TEST(OpenBackendTest, RefusesARelativeDirectory) {
  EXPECT_THAT(OpenBackend("loop:volumes", "/nowhere"),
              Fails(absl::StatusCode::kInvalidArgument, "absolute"));
  EXPECT_THAT(OpenBackend("loop:", "/nowhere"),
              Fails(absl::StatusCode::kInvalidArgument, "absolute"));
}

}  // namespace
}  // namespace cryptvol::block
