#include "volume/storage.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status.h"

namespace cryptvol::volume {
namespace {

// /dev/sdb, /dev/nvme0n1p2, /dev/dm-3: numbered as the kernel found them.
bool HasUnstableName(const std::string& device) {
  constexpr std::array kPatterns = {"/dev/sd[a-z]*", "/dev/hd[a-z]*",   "/dev/vd[a-z]*",
                                    "/dev/xvd*",     "/dev/nvme[0-9]*", "/dev/dm-*",
                                    "/dev/loop*",    "/dev/mmcblk*",    "/dev/nbd*"};
  return std::ranges::any_of(kPatterns, [&](const char* pattern) {
    return ::fnmatch(pattern, device.c_str(), FNM_PATHNAME) == 0;
  });
}

class BackendVolume : public VolumeStorage {
 public:
  BackendVolume(block::Backend* backend, std::string volume_id)
      : backend_(backend), volume_id_(std::move(volume_id)) {}

  bool is_static() const override { return false; }
  std::string location() const override { return backend_->Location(volume_id_); }
  std::string WayToStartOver() const override { return "delete the volume and make a new one"; }
  absl::StatusOr<bool> IsAttached() override {
    CV_ASSIGN_OR_RETURN(const block::VolumeInfo info, backend_->Get(volume_id_));
    return info.attached;
  }
  absl::StatusOr<std::string> Attach(bool read_only) override {
    return backend_->Attach(volume_id_, read_only);
  }
  absl::Status Detach() override { return backend_->Detach(volume_id_); }
  absl::StatusOr<block::FormatRecord> LoadRecord() override {
    return backend_->LoadFormatRecord(volume_id_);
  }
  absl::Status StoreRecord(const block::FormatRecord& record) override {
    return backend_->StoreFormatRecord(volume_id_, record);
  }
  absl::Status Remember(const std::string& /*luks_uuid*/) override { return absl::OkStatus(); }

 private:
  block::Backend* backend_;
  std::string volume_id_;
};

class StaticVolume : public VolumeStorage {
 public:
  StaticVolume(block::StaticRecords* records, std::string volume_id, std::string device)
      : records_(records), volume_id_(std::move(volume_id)), device_(std::move(device)) {}

  bool is_static() const override { return true; }
  std::string location() const override { return device_; }
  std::string WayToStartOver() const override {
    return "remove its record on this node, " + records_->PathOf(volume_id_);
  }
  absl::StatusOr<bool> IsAttached() override { return true; }
  absl::StatusOr<std::string> Attach(bool /*read_only*/) override {
    if (HasUnstableName(device_)) {
      Log(LogLevel::kWarning,
          "the attributes name the device in the order in which the kernel found it: after a "
          "reboot that name may be another disk's; use one below /dev/disk/by-id",
          {{"volume", volume_id_}, {"device", device_}});
    }
    return device_;
  }
  absl::Status Detach() override { return absl::OkStatus(); }
  absl::StatusOr<block::FormatRecord> LoadRecord() override { return records_->Load(volume_id_); }
  absl::Status StoreRecord(const block::FormatRecord& record) override {
    return records_->Store(volume_id_, record);
  }
  absl::Status Remember(const std::string& luks_uuid) override {
    return records_->StoreDevice({volume_id_, device_, luks_uuid});
  }

 private:
  block::StaticRecords* records_;
  std::string volume_id_;
  std::string device_;
};

}  // namespace

Storage::Storage(std::vector<std::unique_ptr<block::Backend>> backends,
                 std::unique_ptr<block::StaticRecords> static_records)
    : backends_(std::move(backends)), static_records_(std::move(static_records)) {}

absl::StatusOr<block::Backend*> Storage::FindBackend(const std::string& name) const {
  std::vector<std::string> names;
  for (const auto& backend : backends_) {
    if (name.empty() || backend->name() == name) return backend.get();
    names.push_back(backend->name());
  }
  if (backends_.empty()) {
    return FailedPrecondition(
        "this driver runs without a backend (--backend): it serves static volumes only");
  }
  return InvalidArgument("the backend {} is not one of this driver's ({})", name,
                         absl::StrJoin(names, ", "));
}

absl::StatusOr<block::Backend*> Storage::FindOwner(const std::string& volume_id) const {
  absl::Status failed;
  for (const auto& backend : backends_) {
    auto info = backend->Get(volume_id);
    if (info.ok()) return backend.get();
    // An id that no backend could have made is not one of theirs.
    if (absl::IsNotFound(info.status()) || absl::IsInvalidArgument(info.status())) continue;
    // Whose disk is not mounted, say. Volumes of the others do not wait for that.
    if (failed.ok()) failed = Annotate(info.status(), "ask the backend " + backend->name());
  }
  if (failed.ok() || IsKnownAsStatic(volume_id)) return nullptr;
  return failed;
}

// Then no backend has to be asked, whose disk may not answer.
bool Storage::IsKnownAsStatic(const std::string& volume_id) const {
  const auto record = static_records_->Load(volume_id);
  return record.ok() && record->state != block::FormatState::kNever;
}

absl::StatusOr<std::unique_ptr<VolumeStorage>> Storage::Open(const std::string& volume_id,
                                                             const VolumeOptions& options) const {
  if (!options.device.empty() && IsKnownAsStatic(volume_id)) {
    return std::make_unique<StaticVolume>(static_records_.get(), volume_id, options.device);
  }
  absl::StatusOr<block::Backend*> found = FindOwner(volume_id);
  // The attributes say that it is a static one, whatever is the matter with a backend.
  if (!found.ok() && options.device.empty()) return found.status();
  block::Backend* const owner = found.ok() ? *found : nullptr;
  if (owner != nullptr && !options.device.empty()) {
    return FailedPrecondition(
        "the backend {} has this volume, and its attributes name the device {}: give the static "
        "PersistentVolume another volumeHandle",
        owner->name(), options.device);
  }
  if (owner != nullptr) return std::make_unique<BackendVolume>(owner, volume_id);
  if (options.device.empty()) {
    return MakeStatus(absl::StatusCode::kNotFound,
                      "no backend of this node has this volume, and its attributes name no device "
                      "(a command by hand: give --backend, as the driver has it, or --device)");
  }
  return std::make_unique<StaticVolume>(static_records_.get(), volume_id, options.device);
}

}  // namespace cryptvol::volume
