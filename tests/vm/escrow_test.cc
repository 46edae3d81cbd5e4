// Headers kept outside the volumes, encrypted.
#include <filesystem>
#include <set>

#include "maintenance_fixture.h"
#include "refusals.h"

namespace cryptvol::vm {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

class Escrow : public MaintenanceTest {
 protected:
  void SetUp() override {
    MaintenanceTest::SetUp();
    MustRun("age-keygen -o " + path("id") + " 2>/dev/null");
    WriteFile(path("recipients"), "# the safe\n" + MustRun("age-keygen -y " + path("id")) + "\n");
    Restart(path("escrow"));
  }
  void Restart(const std::string& directory) {
    driver_ = std::make_unique<Driver>(directory_, Flags(directory));
    driver_->Start();
  }
  std::vector<std::string> Flags(const std::string& directory) const {
    return {"--header-escrow=" + directory, "--header-escrow-recipients=" + path("recipients"),
            "--metrics-address=127.0.0.1:9811"};
  }
  // Without the directory's id.
  std::set<std::string> Kept() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path("escrow"))) {
      names.insert(entry.path().filename().string());
    }
    names.erase("id");
    return names;
  }
  // The only one, decrypted.
  std::string Decrypted() {
    EXPECT_EQ(1, Kept().size());
    MustRun(fmt::format("age -d -i {} -o {} {}/{}", path("id"), path("header"), path("escrow"),
                        *Kept().begin()));
    return path("header");
  }
  bool SavedOpens(const std::string& key) {
    return Shell("cryptsetup open --test-passphrase --key-file " + KeyFile(key) + " " + Decrypted())
               .status == 0;
  }
};

// Other recipients read what is kept from the next stage on, and those of before no longer.
TEST_F(Escrow, FollowsItsRecipients) {
  const Volume volume = Used();
  const std::set<std::string> before = Kept();
  MustRun("rm " + path("id") + " && age-keygen -o " + path("id") + " 2>/dev/null");
  WriteFile(path("recipients"), MustRun("age-keygen -y " + path("id")) + "\n");
  Restart(path("escrow"));
  ExpectKept(volume);
  EXPECT_NE(before, Kept());
  EXPECT_TRUE(SavedOpens("the key"));
}

// After the first stage the header is there, ready, readable by its owner alone; it restores a volume
// whose own one is gone.
TEST_F(Escrow, RestoresALostHeader) {
  const Volume volume = Used();
  ASSERT_EQ(1, Kept().size());
  EXPECT_THAT(*Kept().begin(), HasSubstr(volume.id));
  EXPECT_EQ("600", MustRun("stat --format=%a " + path("escrow") + "/" + *Kept().begin()));
  EXPECT_THAT(MustDo("header inspect --file " + Decrypted()), HasSubstr("\"ready\""));
  MustRun("dd if=/dev/zero of=" + ImageOf(volume) + " bs=1M count=16 conv=notrunc status=none");
  EXPECT_CODE(DATA_LOSS, Stage(volume));
  MustDo(fmt::format("header restore {} {} --key-file {}", volume.id, path("header"),
                     KeyFile("the key")));
  ExpectKept(volume);
}

// With the Secret gone as well, a recovery identity has the key that the saved header asks for.
TEST_F(Escrow, RestoresALostHeaderWithARecoveryIdentity) {
  const Volume volume =
      Used("the key", {{"recoveryRecipients", MustRun("age-keygen -y " + path("id"))}});
  MustRun("dd if=/dev/zero of=" + ImageOf(volume) + " bs=1M count=16 conv=notrunc status=none");
  const std::string header = Decrypted();
  const std::string passphrase =
      "cryptsetup token export --token-id 1 " + header + " | jq -r .age | age -d -i " + path("id");
  const ShellResult restored = Shell(fmt::format(
      "{} | {} --state-dir={} --backend=loop:{} header restore {} {} --key-file=-", passphrase,
      TheSetup().driver, path("state"), path("backend"), volume.id, header));
  EXPECT_EQ(0, restored.status) << restored.output;
  ExpectKept(volume);
}

// A rotation replaces what was kept: the old key opens the kept header no more.
TEST_F(Escrow, FollowsARotation) {
  Volume volume = Used();
  const auto before = Kept();
  volume.secrets = QuickSecret("next");
  volume.secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = "the key";
  ExpectKept(volume);
  EXPECT_NE(before, Kept());
  EXPECT_TRUE(SavedOpens("next"));
  EXPECT_FALSE(SavedOpens("the key"));
}

// A stage that changes nothing in the header writes nothing; one that finds its header missing there
// keeps it again.
TEST_F(Escrow, WritesWhatIsMissingOnly) {
  const Volume volume = Used();
  const std::string file = path("escrow") + "/" + *Kept().begin();
  const std::string inode = MustRun("stat --format=%i " + file);
  ExpectKept(volume);
  EXPECT_EQ(inode, MustRun("stat --format=%i " + file));
  std::filesystem::remove(file);
  ExpectKept(volume);
  EXPECT_TRUE(std::filesystem::exists(file));
}

// The commands keep what they change, as the driver does.
TEST_F(Escrow, FollowsCommands) {
  const Volume volume = Used();
  MustDo(fmt::format(
      "--header-escrow={} --header-escrow-recipients={} key add {} --key-file {} "
      "--new-key-file {} --random",
      path("escrow"), path("recipients"), volume.id, KeyFile("the key"), KeyFile("another")));
  EXPECT_TRUE(SavedOpens("another"));
}

// A directory that cannot be written to keeps no volume from being used; the metric counts it.
TEST_F(Escrow, FailureIsCountedAndTheVolumeUsed) {
  driver_->Kill();
  std::filesystem::create_directories(path("full"));
  MustRun("mount -t tmpfs -o size=4k tmpfs " + path("full"));
  Restart(path("full"));
  const Volume volume = Used();
  EXPECT_THAT(HttpGet(9811, "/metrics"),
              HasSubstr("\ncryptvol_header_escrows_total{result=\"failed\"} 1\n"));
  EXPECT_THAT(driver_->log(), HasSubstr("could not be saved"));
  EXPECT_EQ("id", MustRun("ls -A " + path("full")));
  MustRun("umount " + path("full"));
  ExpectKept(volume);
}

// What is kept of a deleted volume would keep its keyslots: it goes too, and another's stays.
TEST_F(Escrow, ADeletedVolumesHeaderGoes) {
  const Volume volume = Used();
  Volume other = NewVolume(volume.id + ".other");
  ASSERT_CODE(OK, Create(other, 32 << 20));
  ASSERT_CODE(OK, Stage(other));
  ASSERT_CODE(OK, Unstage(other));
  ASSERT_EQ(2, Kept().size());
  ASSERT_CODE(OK, Delete(volume));
  ASSERT_EQ(1, Kept().size());
  EXPECT_THAT(*Kept().begin(), HasSubstr(other.id));
}

// While the disk of the directory is not mounted, headers are neither kept where nobody looks for them, nor is
// a volume's deletion whole: its header is still on that disk.
TEST_F(Escrow, IsNotTheDirectoryBelowItsMount) {
  driver_->Kill();
  std::filesystem::create_directories(path("disk"));
  std::filesystem::create_directories(path("escrow"));
  MustRun(fmt::format("mount --bind {} {}", path("disk"), path("escrow")));
  Restart(path("escrow"));
  const Volume volume = Used();
  ASSERT_EQ(1, Kept().size());

  MustRun("umount " + path("escrow"));
  ExpectKept(volume);
  EXPECT_THAT(HttpGet(9811, "/metrics"),
              HasSubstr("\ncryptvol_header_escrows_total{result=\"failed\"} 1\n"));
  EXPECT_THAT(Delete(volume),
              Refused(StatusCode::FAILED_PRECONDITION,
                      {volume.id, "its saved headers are not", path("escrow"), "mounted"}));
  EXPECT_EQ("", MustRun("ls -A " + path("escrow")));

  MustRun(fmt::format("mount --bind {} {}", path("disk"), path("escrow")));
  EXPECT_CODE(OK, Delete(volume));
  EXPECT_TRUE(Kept().empty());
  MustRun("umount " + path("escrow"));
}

// Without recipients there is nobody to encrypt to: the driver does not start.
TEST_F(Escrow, NeedsRecipients) {
  WriteFile(path("recipients"), "# nobody\n");
  const ShellResult result = Shell(fmt::format(
      "{} --endpoint=unix://{} --node-id=n --state-dir={} --header-escrow={} "
      "--header-escrow-recipients={}",
      TheSetup().driver, path("other.sock"), path("state2"), path("escrow"), path("recipients")));
  EXPECT_EQ(2, result.status);
  EXPECT_THAT(result.output, HasSubstr("--header-escrow-recipients"));
}

}  // namespace
}  // namespace cryptvol::vm
