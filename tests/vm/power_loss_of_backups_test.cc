// The power fails at any moment of a save, a rewrap or a decryption into a directory: the disk has
// what was flushed, and some of what was not. What a command reported as done is there; what it had
// not finished does not count, or does as a whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <random>

#include "driver_fixture.h"
#include "fmt/format.h"
#include "write_log.h"

namespace cryptvol::vm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kDiskBytes = int64_t{64} << 20;
constexpr int64_t kLogBytes = int64_t{256} << 20;
constexpr size_t kSample = 16;  // moments, unless all are asked for
const char kDevice[] = "/dev/mapper/cvtest-log";

// Which of the writes that were not flushed the disk lost.
enum class Lost { kNone, kSome, kAll };

// A moment at which the power fails.
struct Moment {
  size_t writes = 0;  // how many the disk was told
  Lost lost = Lost::kNone;
};

std::string Describe(const Moment& moment, size_t all) {
  const char* lost = moment.lost == Lost::kNone   ? "none"
                     : moment.lost == Lost::kSome ? "some"
                                                  : "all";
  return fmt::format("after {} writes of {}, of the unflushed {} lost", moment.writes, all, lost);
}

class PowerLossOfBackups : public DriverTest {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    fmt::print("seed {}\n", TheSetup().seed);
    cryptsnap_ = fs::path(TheSetup().driver).parent_path() / "cryptsnap";
    for (const char* identity : {"old", "new"}) {
      MustRun(fmt::format("{} keygen -o {}", cryptsnap_, path(identity)));
      MustRun(fmt::format("{0} keygen -y {1} > {1}.pub", cryptsnap_, path(identity)));
    }
    MustRun(fmt::format("{} keygen --signing -o {}", cryptsnap_, path("writer.key")));
    WriteFile(path("plain"), MustRun("seq 60000") + "\n");
  }

  std::string node() const { return path("node"); }
  // Where a file that was not flushed stays empty after its name took another's place.
  void Mount(const std::string& device) {
    MustRun(
        fmt::format("mkdir -p {0} && mount -t ext4 -o noauto_da_alloc {1} {0}", node(), device));
  }
  static void Mark(const std::string& name) {
    MustRun("dmsetup message cvtest-log 0 mark " + name);
  }

  void Save() {
    MustRun(fmt::format(
        "{} save --cluster=prod --signing-key={} -R {} --expect-size=348894 file:{} < {}",
        cryptsnap_, path("writer.key"), path("old.pub"), node() + "/backups", path("plain")));
  }
  void Rewrap() {
    MustRun(fmt::format("{} rewrap --all --verify-key={}.pub -i {} -R {} file:{}", cryptsnap_,
                        path("writer.key"), path("old"), path("new.pub"), node() + "/backups"));
  }
  void DecryptOverAnOlderFile() {
    MustRun(fmt::format("{} decrypt -i {} -o {}/out {}", cryptsnap_, path("new"), node(),
                        path("plain.age")));
  }

  // A filesystem, and everything that is written to it: two saves, a rewrap, a decryption.
  void Record() {
    MustRun(fmt::format("{} encrypt -R {} -o {} {}", cryptsnap_, path("new.pub"), path("plain.age"),
                        path("plain")));
    const std::string disk = NewDevice(kDiskBytes, "disk");
    MustRun("mkfs.ext4 -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 " + disk +
            " && sync " + disk + " && cp --sparse=always " + path("disk.img") + " " + path("base"));
    log_device_ = NewDevice(kLogBytes, "log");
    MustRun(fmt::format("dmsetup create cvtest-log --table '0 {} log-writes {} {}'",
                        kDiskBytes / 512, disk, log_device_));
    Mount(kDevice);
    WriteFile(node() + "/out", "old");
    MustRun("sync " + node() + "/out " + node());
    Save();
    Mark("first");
    Save();
    Mark("second");
    Rewrap();
    Mark("rewrapped");
    DecryptOverAnOlderFile();
    Mark("decrypted");
    MustRun("umount " + node() + " && dmsetup remove cvtest-log && losetup -d " + disk);
    log_ = std::make_unique<WriteLog>(log_device_);
    for (const LoggedWrite& write : log_->writes()) flushes_ += write.flush ? 1 : 0;
  }

  // From the first save on, each number of writes; where some were not flushed, with losses.
  std::vector<Moment> Moments() const {
    std::vector<Moment> moments;
    for (size_t writes = log_->FindMark("first"); writes <= log_->writes().size(); ++writes) {
      moments.push_back({writes, Lost::kNone});
      if (log_->Unflushed(writes) == 0) continue;
      moments.push_back({writes, Lost::kAll});
      moments.push_back({writes, Lost::kSome});
    }
    return moments;
  }
  // A sample of them, or all. When a command has just reported that it was done is always there.
  std::vector<Moment> Choose(std::vector<Moment> moments) {
    const size_t all = moments.size();
    if (!TheSetup().everything) {
      std::ranges::shuffle(moments, random_);
      moments.resize(std::min(all, kSample));
      for (const char* mark : {"first", "second", "rewrapped", "decrypted"}) {
        moments.push_back({log_->FindMark(mark), Lost::kAll});
      }
    }
    fmt::print("{} moments of {}, {} flushes\n", moments.size(), all, flushes_);
    return moments;
  }

  bool Done(const Moment& moment, const std::string& mark) const {
    return moment.writes >= log_->FindMark(mark);
  }
  // As many backups are good, and open with these identities, as there are signatures.
  void ExpectGood(const std::string& identities, int at_least, int at_most) {
    const int signatures =
        std::stoi(MustRun("ls " + node() + "/backups/chain/*/*.minisig | wc -l"));
    const ShellResult result =
        Shell(fmt::format("{} verify --all --verify-key={}.pub {} file:{}/backups", cryptsnap_,
                          path("writer.key"), identities, node()));
    EXPECT_EQ(0, result.status) << result.output;
    EXPECT_EQ(std::string::npos, result.output.find("alarm")) << result.output;
    int good = result.output.starts_with("ok ") ? 1 : 0;
    for (size_t at = 0; (at = result.output.find("\nok ", at)) != std::string::npos; ++at) ++good;
    EXPECT_EQ(signatures, good) << result.output;
    EXPECT_LE(at_least, good) << result.output;
    EXPECT_GE(at_most, good) << result.output;
  }
  void Expect(const Moment& moment) {
    const std::string old_and_new = fmt::format("-i {} -i {}", path("old"), path("new"));
    const bool rewrapped = Done(moment, "rewrapped");
    ExpectGood(rewrapped ? "-i " + path("new") : old_and_new, Done(moment, "second") ? 2 : 1, 2);
    const std::string out = ReadFile(node() + "/out");
    const bool whole = out == ReadFile(path("plain"));
    EXPECT_TRUE(whole || (out == "old" && !Done(moment, "decrypted"))) << out.size() << " bytes";
  }

  void Visit(const Moment& moment) {
    SCOPED_TRACE(Describe(moment, log_->writes().size()));
    const std::string image = path("replay.img");
    MustRun("cp --sparse=always " + path("base") + " " + image);
    log_->Replay(moment.writes, image, [&] {
      return moment.lost == Lost::kAll || (moment.lost == Lost::kSome && random_() % 2 == 0);
    });
    const std::string loop = MustRun("losetup --find --show " + image);
    Mount(loop);
    if (!HasFailure()) Expect(moment);
    MustRun("umount " + node() + " && losetup -d " + loop);
  }

  std::string cryptsnap_;
  std::string log_device_;
  std::unique_ptr<WriteLog> log_;
  size_t flushes_ = 0;
  std::mt19937_64 random_{TheSetup().seed};
};

// Each backup whose signature is there opens, with the old key or the new one, as does each that a
// command reported; an older output file is there until the new one is, whole.
TEST_F(PowerLossOfBackups, DuringSaveRewrapAndDecrypt) {
  Record();
  if (HasFailure()) return;
  for (const Moment& moment : Choose(Moments())) {
    Visit(moment);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace cryptvol::vm
