// Walks a call through every point at which it can die.
#ifndef CRYPTVOL_TESTS_VM_KILL_POINTS_FIXTURE_H_
#define CRYPTVOL_TESTS_VM_KILL_POINTS_FIXTURE_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "driver_fixture.h"
#include "kill_points.h"

namespace cryptvol::vm {

class KillPointsTest : public DriverTest {
 protected:
  // Whose points count.
  enum class Counted { kDriverAndWorkers, kMkfs };

  static constexpr int64_t kMiB = int64_t{1} << 20;

  explicit KillPointsTest(Counted counted = Counted::kDriverAndWorkers) : counted_(counted) {}
  void SetUp() override;
  void TearDown() override;

  using Call = std::function<grpc::Status()>;
  using Step = std::function<void()>;
  // At each point, or one in so many as the command line asks for: `prepare`, the call with a death at the point, a
  // new driver, the call again as kubelet repeats it, which must succeed; then `check`. Ends when the call got through
  // untouched.
  void Walk(const Step& prepare, const Call& call, const Step& check);
  // The same with another victim than both, at one point in `stride` unless everything is asked for.
  void WalkAlone(Victim victim, int stride, const Step& prepare, const Call& call,
                 const Step& check);
  // The same at the given points only.
  void Visit(const std::vector<int>& points, const Step& prepare, const Call& call,
             const Step& check);
  // How many points the call has. It is made, and must succeed.
  int CountPoints(const Call& call);

  // Filesystems to walk: ext4, or all of them when everything is asked for.
  static std::vector<std::string> Filesystems();
  // Bytes of a small volume with that filesystem.
  static int64_t SizeFor(const std::string& filesystem);
  // A new volume of the loop backend with that filesystem, created and not staged.
  Volume Created(const std::string& filesystem = "ext4", const std::string& name = "pvc");
  // One that was staged and has data, unstaged.
  Volume WithData(const std::string& filesystem = "ext4");
  // Random bytes go into a file of the staged volume; their digest is kept.
  void WriteData(const Volume& volume);
  void ExpectData(const Volume& volume);
  // Staged again, the volume has what was written; unstaged in the end.
  void ExpectKept(const Volume& volume);
  // As kubelet does: a child of a dead driver, or a look at the volume's keys, may be at work and keep it locked.
  static grpc::Status Repeat(const Call& call);
  // A freshly staged volume works, and keeps what is written; unstaged in the end.
  void ExpectUsable(const Volume& volume);

  // The programs that must have died in a walk of all points. "cryptvol-store" is what works on the backend's files.
  std::vector<std::string> at_work_ = {"cryptvol-store", "cryptvol-worker"};

  // cryptvol-csi with this node's storage, to be followed by its command; its points count.
  std::string Maintenance() const;

 private:
  // What a command line needs in front of it for its points to count.
  std::string Preload() const;
  void MapControl();
  void StopTheDisk();
  void PreloadWorkers();
  void ReplaceMkfs();
  // Whether something died.
  bool DiesAt(int point, const Step& call);
  // One point, whole. False when the call got through untouched.
  bool Try(int point, const Step& prepare, const Call& call, const Step& check);
  void Walk(int stride, const Step& prepare, const Call& call, const Step& check);
  bool DriverDied() const;
  bool SomeDiedIn(std::string_view program) const;
  void Report() const;

  const Counted counted_;
  KillPoints* control_ = nullptr;
  Victim victim_ = Victim::kBoth;
  std::vector<std::unique_ptr<ReplacedProgram>> replaced_;
  std::map<std::string, int> deaths_;
  std::map<std::string, int> answers_;  // of a driver that lost its worker
  std::map<std::string, std::string> digests_;
  int volumes_ = 0;
};

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_KILL_POINTS_FIXTURE_H_
