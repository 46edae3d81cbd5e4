// Saved headers, and the directory that they are in.
#include "worker/escrow.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include "age/file.h"
#include "age/x25519.h"
#include "base/bytes.h"
#include "base/memory_stream.h"
#include "base/status.h"
#include "block/directory.h"
#include "loop_fixture.h"
#include "worker/luks_session.h"

namespace cryptvol::worker {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;

// An escrow of this device's header.
class EscrowTest : public LoopTest {
 protected:
  EscrowTest() : escrow_(directory_ + "/escrow"), identity_(*age::X25519Identity::Generate()) {
    LuksSession session;
    EXPECT_TRUE(session.Inspect(device_).ok());
    EXPECT_TRUE(session.BuildHeader(Plan(), *SecretBytes::CopyOf("k")).ok());
    EXPECT_TRUE(session.CommitHeader(false).ok());
  }
  absl::StatusOr<bool> Save() const {
    LuksSession session;
    CV_RETURN_IF_ERROR(session.Inspect(device_).status());
    return session.EscrowHeader({Directory(), "pvc-1", {identity_->recipient().text()}});
  }
  volume::EscrowDirectory Directory() const { return {escrow_, directory_ + "/state/escrow.id"}; }
  // Without the directory's id.
  std::vector<std::string> Kept() const {
    auto names = *block::ListDirectory(escrow_);
    std::erase(names, "id");
    return names;
  }
  void Put(const std::string& name) const { std::ofstream(escrow_ + "/" + name) << "old"; }
  std::string Decrypted() {
    EXPECT_EQ(1u, Kept().size());
    const std::string file = *ReadSmallFile(escrow_ + "/" + Kept().at(0), 32 << 20);
    MemorySource source(AsBytes(file));
    age::Identities identities;
    identities.push_back(std::move(identity_));
    StringSink sink;
    EXPECT_EQ(absl::OkStatus(), age::DecryptFile(source, identities, sink));
    return sink.text();
  }
  std::string FirstBytes(size_t size) const {
    std::string bytes(size, '\0');
    std::ifstream(device_).read(bytes.data(), static_cast<std::streamsize>(size));
    return bytes;
  }

  const std::string escrow_;
  std::unique_ptr<age::X25519Identity> identity_;
};

// What is kept is the header, byte for byte, for its owner alone; the second time nothing is written.
TEST_F(EscrowTest, KeepsTheWholeHeader) {
  EXPECT_TRUE(Save().value_or(false));
  ASSERT_EQ(1u, Kept().size());
  const fs::path file = escrow_ + "/" + Kept()[0];
  EXPECT_EQ(fs::perms::owner_read | fs::perms::owner_write, fs::status(file).permissions());
  const auto written = fs::last_write_time(file);
  const auto again = Save();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_FALSE(*again);
  EXPECT_EQ(written, fs::last_write_time(file));
  EXPECT_TRUE(Decrypted() == FirstBytes(16 << 20));
}

// The directory is made by the first save, for its owner alone.
TEST_F(EscrowTest, MakesItsDirectory) {
  ASSERT_TRUE(Save().value_or(false));
  EXPECT_EQ(fs::perms::owner_all, fs::status(escrow_).permissions());
}

// A directory whose disk is not mounted is there, and is not the one that headers were kept in: none is
// saved to it, and none is taken to have been removed. With the disk it is the escrow again.
TEST_F(EscrowTest, IsNoOtherDirectory) {
  ASSERT_TRUE(Save().value_or(false));
  fs::rename(escrow_, escrow_ + "-elsewhere");
  for (const bool there : {false, true}) {
    if (there) fs::create_directory(escrow_);
    EXPECT_EQ(absl::StatusCode::kFailedPrecondition, Save().status().code());
    const absl::Status removed = RemoveEscrowed(Directory(), "pvc-1");
    EXPECT_EQ(absl::StatusCode::kFailedPrecondition, removed.code());
    EXPECT_THAT(Message(removed), AllOf(HasSubstr(escrow_), HasSubstr("mounted"),
                                        HasSubstr(Directory().identity_file)));
    EXPECT_EQ(there, fs::exists(escrow_));
  }
  EXPECT_TRUE(fs::is_empty(escrow_));
  fs::remove(escrow_);
  fs::rename(escrow_ + "-elsewhere", escrow_);
  EXPECT_TRUE(RemoveEscrowed(Directory(), "pvc-1").ok());
  EXPECT_TRUE(Kept().empty());
}

// A node that has saved nothing has nothing to miss; one that is new finds the directory of others.
TEST_F(EscrowTest, OfANodeThatHasSavedNothing) {
  EXPECT_TRUE(RemoveEscrowed(Directory(), "pvc-1").ok());
  ASSERT_TRUE(Save().value_or(false));
  fs::remove_all(directory_ + "/state");
  EXPECT_FALSE(Save().value_or(true));
  EXPECT_EQ(1u, Kept().size());
}

// What a save that was cut short has left of earlier states, which old keys open, goes with the next
// one, also when that has nothing to write; what is another header's or another volume's stays.
TEST_F(EscrowTest, RemovesEarlierStatesAlsoWhenNothingIsToBeWritten) {
  ASSERT_TRUE(Save().value_or(false));
  const std::string uuid = Plan().luks_uuid;
  const std::string state = ".0123456789abcdef.luks.age";
  const std::vector<std::string> others = {"pvc-1.22" + uuid.substr(2) + state,
                                           "pvc-12." + uuid + state, "pvc-1." + uuid + ".notes"};
  for (const std::string& name : others) Put(name);
  Put("pvc-1." + uuid + state);
  Put("pvc-1." + uuid + state + ".tmpAbC123");
  const auto saved = Save();
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_FALSE(*saved);
  EXPECT_EQ(1 + others.size(), Kept().size());
  for (const std::string& name : others) EXPECT_TRUE(fs::exists(escrow_ + "/" + name)) << name;
  EXPECT_FALSE(fs::exists(escrow_ + "/pvc-1." + uuid + state));
}

#ifndef CRYPTVOL_SANITIZED  // their own memory counts, too

// The most memory that this process had since it was reset.
uint64_t PeakKib() {
  const std::string status = *ReadSmallFile("/proc/self/status");
  uint64_t kib = 0;
  const size_t at = status.find("VmHWM:");
  std::sscanf(status.c_str() + at, "VmHWM: %lu", &kib);
  return kib;
}

uint64_t ResetPeakKib() {
  ::malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
  return PeakKib();
}

// A worker's memory is locked, and four may save at once: none of them holds the 16 MiB of a header.
TEST_F(EscrowTest, HoldsNoWholeHeader) {
  LuksSession session;
  ASSERT_TRUE(session.Inspect(device_).ok());
  const uint64_t before = ResetPeakKib();
  const auto saved = session.EscrowHeader({Directory(), "pvc-1", {identity_->recipient().text()}});
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_LT(PeakKib() - before, 12u << 10);
  RecordProperty("peak_kib", static_cast<int>(PeakKib() - before));
}

#endif

}  // namespace
}  // namespace cryptvol::worker
