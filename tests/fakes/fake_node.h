// A node in memory: one disk, its backend, the kernel's mappings and mounts, and the hands that
// work on them. It enforces the order that the real parts enforce (nothing is mapped without a key,
// nothing mounted without a filesystem) and can fail any step, before or after the step took
// effect.
#ifndef CRYPTVOL_TESTS_FAKES_FAKE_NODE_H_
#define CRYPTVOL_TESTS_FAKES_FAKE_NODE_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/status.h"
#include "block/backend.h"
#include "mount/mount_point.h"
#include "volume/environment.h"

namespace cryptvol::fakes {

enum class When { kBefore, kAfter };

// All that lasts from one operation to the next, as on a real node.
struct World {
  // The disk.
  uint64_t disk_bytes = uint64_t{64} << 20;
  bool torn = false;  // random bytes where the header should be
  std::optional<volume::HeaderPlan> header;
  std::map<int, std::string> keyslots;  // id -> passphrase
  std::set<int> ignored;                // of those, the ones of priority 0
  std::vector<luks::RecoveryToken> recovery;
  std::optional<filesystem::FilesystemReport> filesystem;
  int formats = 0;  // headers written
  int mkfs_runs = 0;
  std::string mkfs_makes;  // what its options make of any type
  // The backend's metadata.
  block::FormatRecord record;
  // The kernel.
  bool attached = false;
  std::optional<volume::MappingReport> mapping;
  std::vector<mount::MountEntry> mounts;

  bool HasMapping(const std::string& name) const {
    return mapping.has_value() && mapping->name == name;
  }

  // Faults: the step with this number (from 1) fails.
  int steps = 0;
  int fail_at = 0;
  When when = When::kBefore;
  std::vector<std::string> trace;
  // How long each step might have taken; the last of each name.
  std::map<std::string, std::chrono::milliseconds> allowed;
  std::function<void(const std::string&)> on_step = nullptr;  // called before each

  // The next step has that deadline.
  World& In(Deadline deadline) {
    next_allowed_ = deadline.remaining();
    return *this;
  }
  // Runs a step's effect, unless it is the one that fails.
  template <typename Effect>
  absl::Status Step(const std::string& name, Effect effect) {
    trace.push_back(name);
    if (next_allowed_) allowed[name] = *std::exchange(next_allowed_, std::nullopt);
    if (on_step) on_step(name);
    const bool fails = ++steps == fail_at;
    if (fails && when == When::kBefore) return Internal("fault before {}", name);
    CV_RETURN_IF_ERROR(effect());
    if (fails) return Internal("fault after {}", name);
    return absl::OkStatus();
  }
  absl::Status Step(const std::string& name) {
    return Step(name, [] { return absl::OkStatus(); });
  }

 private:
  std::optional<std::chrono::milliseconds> next_allowed_;
};

inline constexpr block::DeviceNumber kDisk = {7, 0};
// A number that nothing on the machine that runs the test has: errors name the users of the real
// one.
inline constexpr block::DeviceNumber kMapping = {4000, 77};

class FakeBackend : public block::Backend {
 public:
  explicit FakeBackend(World* world) : world_(world) {}

  std::string name() const override { return "fake:disk"; }
  std::string Location(const std::string& /*volume_id*/) const override { return "/srv/fake"; }
  absl::StatusOr<block::VolumeInfo> Create(const block::VolumeSpec& spec) override {
    return block::VolumeInfo{spec, false};
  }
  absl::Status Delete(const std::string& /*volume_id*/) override { return absl::OkStatus(); }
  absl::StatusOr<block::VolumeInfo> Get(const std::string& volume_id) override {
    block::VolumeInfo info;
    info.spec.volume_id = volume_id;
    info.attached = world_->attached;
    return info;
  }
  absl::StatusOr<std::vector<block::VolumeInfo>> List() override {
    return std::vector<block::VolumeInfo>();
  }
  absl::StatusOr<uint64_t> AvailableBytes() override { return 0; }
  absl::StatusOr<std::string> Attach(const std::string& /*volume_id*/,
                                     bool /*read_only*/) override {
    CV_RETURN_IF_ERROR(world_->Step("attach", [&] {
      world_->attached = true;
      return absl::OkStatus();
    }));
    return "/dev/fake";
  }
  absl::StatusOr<std::optional<std::string>> AttachedDevice(
      const std::string& /*volume_id*/) override {
    return std::nullopt;
  }
  absl::Status Detach(const std::string& /*volume_id*/) override {
    if (world_->mapping.has_value()) return FailedPrecondition("in use");
    world_->attached = false;
    return absl::OkStatus();
  }
  absl::StatusOr<block::FormatRecord> LoadFormatRecord(const std::string& /*id*/) override {
    CV_RETURN_IF_ERROR(world_->Step("load record"));
    return world_->record;
  }
  absl::Status StoreFormatRecord(const std::string& /*id*/,
                                 const block::FormatRecord& record) override {
    return world_->Step("store record", [&] {
      world_->record = record;
      return absl::OkStatus();
    });
  }

 private:
  World* world_;
};

class FakeWorker : public volume::DeviceWorker {
 public:
  explicit FakeWorker(World* world) : world_(world) {}

  absl::StatusOr<volume::Inspection> Inspect(const std::string& device,
                                             Deadline deadline) override {
    CV_RETURN_IF_ERROR(world_->In(deadline).Step("inspect"));
    volume::Inspection inspection;
    inspection.device.path = device;
    inspection.device.number = kDisk;
    inspection.device.size_bytes = world_->disk_bytes;
    inspection.device.logical_sector_bytes = 512;
    inspection.device.contents =
        world_->torn
            ? block::Contents::kUnknown
            : (world_->header.has_value() ? block::Contents::kLuks : block::Contents::kBlank);
    if (world_->mapping.has_value()) inspection.device.users = {"held by " + world_->mapping->name};
    if (world_->header.has_value()) {
      auto& header = inspection.header.emplace();
      header.version = 2;
      header.uuid = world_->header->luks_uuid;
      for (const auto& [id, passphrase] : world_->keyslots) {
        (world_->ignored.contains(id) ? header.ignored : header.keyslots).push_back(id);
      }
      header.recovery = world_->recovery;
      header.data_offset = luks::kHeaderBytes;
      if (!world_->header->token.volume_id.empty()) {
        header.token = luks::FoundToken{0, world_->header->token};
      }
    }
    return inspection;
  }
  absl::StatusOr<int> Unlock(const SecretBytes& passphrase, Deadline deadline) override {
    int keyslot = -1;
    CV_RETURN_IF_ERROR(world_->In(deadline).Step("unlock", [&]() -> absl::Status {
      for (const auto& [id, known] : world_->keyslots) {
        if (world_->ignored.contains(id)) continue;
        if (known == std::string(passphrase.chars(), passphrase.size())) keyslot = id;
      }
      if (keyslot < 0) return absl::UnauthenticatedError("no keyslot opens");
      unlocked_ = true;
      return absl::OkStatus();
    }));
    return keyslot;
  }
  absl::StatusOr<int> AddKeyslot(const luks::FormatParameters&, const SecretBytes& passphrase,
                                 Deadline deadline) override {
    int keyslot = 0;
    while (world_->keyslots.contains(keyslot)) ++keyslot;
    CV_RETURN_IF_ERROR(world_->In(deadline).Step("add keyslot", [&]() -> absl::Status {
      if (!unlocked_) return absl::InternalError("nothing is unlocked");
      world_->keyslots[keyslot].assign(passphrase.chars(), passphrase.size());
      return absl::OkStatus();
    }));
    return keyslot;
  }
  absl::Status SetRecovery(const std::vector<std::string>&, Deadline) override {
    return Internal("not faked");
  }
  absl::StatusOr<bool> EscrowHeader(const volume::EscrowRequest&, Deadline) override {
    return Internal("not faked");
  }
  absl::Status RemoveEscrowed(const volume::EscrowDirectory&, const std::string&,
                              Deadline) override {
    return Internal("not faked");
  }
  absl::Status SaveHeader(const std::string&, Deadline) override {
    return absl::UnimplementedError("save header");
  }
  absl::StatusOr<volume::HeaderSummary> LoadHeaderFile(const std::string&, Deadline) override {
    return absl::UnimplementedError("load header file");
  }
  absl::Status RestoreHeader(Deadline) override {
    return absl::UnimplementedError("restore header");
  }
  absl::Status DestroyKeyslot(int keyslot, Deadline deadline) override {
    return world_->In(deadline).Step("destroy keyslot", [&]() -> absl::Status {
      if (world_->keyslots.size() < 2) return FailedPrecondition("the last keyslot");
      world_->keyslots.erase(keyslot);
      return absl::OkStatus();
    });
  }
  absl::Status BuildHeader(const volume::HeaderPlan& plan, const SecretBytes& passphrase,
                           Deadline deadline) override {
    return world_->In(deadline).Step("build header", [&] {
      built_ = plan;
      built_passphrase_.assign(passphrase.chars(), passphrase.size());
      unlocked_ = true;
      return absl::OkStatus();
    });
  }
  absl::Status WriteIntent(const luks::Intent&, bool, Deadline deadline) override {
    return world_->In(deadline).Step("write intent");
  }
  absl::Status ClearIntent(Deadline deadline) override {
    return world_->In(deadline).Step("clear intent");
  }
  // A fault after this step's effect is a crash with a whole header; one before it leaves a torn
  // one.
  absl::Status CommitHeader(bool may_be_torn, Deadline deadline) override {
    if (world_->header.has_value() || (world_->torn && !may_be_torn)) {
      return absl::AbortedError("not blank");
    }
    if (world_->record.state != block::FormatState::kIntended) {
      return absl::InternalError("a header without an intent");
    }
    world_->torn = true;
    return world_->In(deadline).Step("commit header", [&] {
      world_->torn = false;
      world_->header = built_;
      world_->keyslots = {{0, built_passphrase_}};
      ++world_->formats;
      return absl::OkStatus();
    });
  }
  absl::StatusOr<volume::MappingReport> Activate(const volume::ActivateOptions& options,
                                                 Deadline deadline) override {
    CV_RETURN_IF_ERROR(world_->In(deadline).Step("activate", [&]() -> absl::Status {
      if (!unlocked_) return absl::InternalError("nothing is unlocked");
      if (world_->mapping.has_value()) return absl::AbortedError("mapped already");
      auto& mapping = world_->mapping.emplace();
      mapping.name = options.name;
      std::string uuid = world_->header->luks_uuid;
      std::erase(uuid, '-');
      mapping.dm_uuid = "CRYPT-LUKS2-" + uuid + "-" + options.name;
      mapping.number = kMapping;
      mapping.is_single_crypt = true;
      mapping.backing = kDisk;
      mapping.offset_sectors = luks::kHeaderBytes / 512;
      mapping.read_only = options.read_only;
      return absl::OkStatus();
    }));
    return *world_->mapping;
  }
  absl::Status StoreToken(const luks::VolumeToken& token, Deadline deadline) override {
    return world_->In(deadline).Step("store token", [&]() -> absl::Status {
      if (!unlocked_) return absl::InternalError("nothing is unlocked");
      CV_RETURN_IF_ERROR(luks::CheckReadable(token));
      world_->header->token = token;
      return absl::OkStatus();
    });
  }
  absl::StatusOr<std::optional<volume::MappingReport>> DescribeMapping(const std::string& name,
                                                                       Deadline deadline) override {
    CV_RETURN_IF_ERROR(world_->In(deadline).Step("describe mapping"));
    return world_->HasMapping(name) ? world_->mapping : std::nullopt;
  }
  absl::Status Deactivate(const std::string& name, Deadline deadline) override {
    return world_->In(deadline).Step("deactivate", [&]() -> absl::Status {
      if (!world_->HasMapping(name)) return absl::OkStatus();
      if (!world_->mounts.empty()) return FailedPrecondition("the mapping is in use");
      world_->mapping.reset();
      return absl::OkStatus();
    });
  }
  absl::Status ProbeDmCrypt(Deadline) override { return absl::OkStatus(); }
  absl::StatusOr<filesystem::FilesystemReport> ProbeFilesystem(const std::string&,
                                                               Deadline deadline) override {
    CV_RETURN_IF_ERROR(world_->In(deadline).Step("probe filesystem"));
    return world_->filesystem.value_or(filesystem::FilesystemReport());
  }
  absl::StatusOr<bool> DataReadsZero(const std::string&, uint64_t, Deadline deadline) override {
    CV_RETURN_IF_ERROR(world_->In(deadline).Step("read data"));
    return !world_->filesystem.has_value();
  }
  absl::Status Sync(const std::string&, Deadline deadline) override {
    return world_->In(deadline).Step("sync");
  }
  absl::Status Mount(const mount::MountRequest& request, Deadline deadline) override {
    return world_->In(deadline).Step("mount", [&]() -> absl::Status {
      if (!world_->filesystem.has_value()) return absl::DataLossError("no filesystem");
      mount::MountEntry entry;
      entry.device = kMapping;
      entry.root = "/";
      entry.target = request.target;
      entry.options = request.read_only ? "ro" : "rw";
      entry.type = request.type;
      entry.source = request.source;
      entry.super_options = entry.options;
      world_->mounts.push_back(entry);
      world_->filesystem->never_mounted = false;
      return absl::OkStatus();
    });
  }
  absl::Status Bind(const mount::BindRequest&, Deadline deadline) override {
    return world_->In(deadline).Step("bind");
  }
  absl::StatusOr<bool> WriteBack(const std::string&, const std::string&,
                                 Deadline deadline) override {
    CV_RETURN_IF_ERROR(world_->In(deadline).Step("write back"));
    return true;
  }
  absl::Status Unmount(const std::string&, Deadline deadline) override {
    return world_->In(deadline).Step("unmount", [&] {
      world_->mounts.clear();
      return absl::OkStatus();
    });
  }
  absl::StatusOr<filesystem::Usage> GetUsage(const std::string&, Deadline) override {
    return filesystem::Usage();
  }
  // Directories are real.
  absl::StatusOr<std::string> ResolveMountPoint(const std::string& path, Deadline) override {
    return mount::ResolveMountPoint(path);
  }
  absl::Status MakeMountPoint(const std::string& path, bool directory, Deadline) override {
    return mount::MakeMountPoint(path, directory);
  }
  absl::Status RemoveMountPoint(const std::string& path, Deadline) override {
    return mount::RemoveMountPoint(path);
  }

 private:
  World* world_;
  bool unlocked_ = false;
  volume::HeaderPlan built_;
  std::string built_passphrase_;
};

class FakeWorkerFactory : public volume::DeviceWorkerFactory {
 public:
  explicit FakeWorkerFactory(World* world) : world_(world) {}
  std::unique_ptr<volume::DeviceWorker> New(std::shared_ptr<volume::OperationLock>) override {
    return std::make_unique<FakeWorker>(world_);
  }

 private:
  World* world_;
};

class FakeTools : public volume::FilesystemTools {
 public:
  explicit FakeTools(World* world) : world_(world) {}
  absl::Status Make(const filesystem::MakeRequest& request, Deadline deadline) override {
    return world_->In(deadline).Step("mkfs", [&] {
      auto& made = world_->filesystem.emplace();
      made.type = world_->mkfs_makes.empty() ? request.type : world_->mkfs_makes;
      made.uuid = request.uuid;
      made.never_mounted = true;
      ++world_->mkfs_runs;
      return absl::OkStatus();
    });
  }
  absl::StatusOr<filesystem::CheckOutcome> Check(const std::string&, const std::string&,
                                                 const std::vector<std::pair<int, int>>&,
                                                 Deadline deadline) override {
    CV_RETURN_IF_ERROR(world_->In(deadline).Step("fsck"));
    return filesystem::CheckOutcome::kClean;
  }
  absl::StatusOr<bool> IsWhole(const std::string&, const std::string&,
                               const std::vector<std::pair<int, int>>&,
                               Deadline deadline) override {
    CV_RETURN_IF_ERROR(world_->In(deadline).Step("check whether whole"));
    return true;
  }

 private:
  World* world_;
};

class FakeLock : public volume::OperationLock {
 public:
  int fd() const override { return -1; }
};

}  // namespace cryptvol::fakes

#endif  // CRYPTVOL_TESTS_FAKES_FAKE_NODE_H_
