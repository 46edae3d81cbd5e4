#include "block/static_records.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "block/directory.h"
#include "block/json_object.h"

namespace cryptvol::block {
namespace {

constexpr uint64_t kVersion = 1;

absl::StatusOr<FormatRecord> Parse(std::string_view text, const std::string& volume_id) {
  CV_ASSIGN_OR_RETURN(const auto object, ParseObject(text, {"version", "volume_id", "record"}));
  CV_ASSIGN_OR_RETURN(const uint64_t version, UnsignedField(object, "version"));
  if (version != kVersion) {
    return InvalidArgument("it is of version {}, this program knows version {}", version, kVersion);
  }
  CV_ASSIGN_OR_RETURN(const std::string id, StringField(object, "volume_id"));
  if (id != volume_id) return InvalidArgument("it is of volume \"{}\"", id);
  return ParseFormatRecord(object["record"].dump());
}

constexpr char kDeviceSuffix[] = ".device";

absl::StatusOr<StaticDevice> ReadDevice(const std::string& path) {
  CV_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path));
  CV_ASSIGN_OR_RETURN(const auto object,
                      ParseObject(text, {"version", "volume_id", "device", "luks_uuid"}));
  StaticDevice device;
  CV_ASSIGN_OR_RETURN(device.volume_id, StringField(object, "volume_id"));
  CV_ASSIGN_OR_RETURN(device.device, StringField(object, "device"));
  CV_ASSIGN_OR_RETURN(device.luks_uuid, StringField(object, "luks_uuid"));
  return device;
}

}  // namespace

absl::StatusOr<StaticRecords> StaticRecords::Open(const std::string& directory) {
  if (!directory.starts_with('/')) {
    return InvalidArgument("keep records in \"{}\": it is no absolute path", directory);
  }
  CV_RETURN_IF_ERROR(MakeDirectories(directory));
  return StaticRecords(directory);
}

std::string StaticRecords::PathOf(const std::string& volume_id) const {
  return fmt::format("{}/{}.json", directory_, Hex(Sha256(volume_id)));
}

absl::StatusOr<FormatRecord> StaticRecords::Load(const std::string& volume_id) const {
  const std::string path = PathOf(volume_id);
  auto text = ReadSmallFile(path);
  if (absl::IsNotFound(text.status())) {
    // Without its directory, a record is lost, not absent.
    if (::access(directory_.c_str(), X_OK) == 0) return FormatRecord{};
    return ErrnoStatus(errno, "look for records in " + directory_);
  }
  CV_RETURN_IF_ERROR(text);
  auto record = Parse(*text, volume_id);
  if (record.ok()) return record;
  return MakeStatus(
      absl::StatusCode::kDataLoss,
      "read what is known of the volume's first format in {}: {}; put the file back from a copy; "
      "deleting it makes the volume one that was never formatted",
      path, Message(record.status()));
}

absl::Status StaticRecords::Store(const std::string& volume_id, const FormatRecord& record) const {
  CV_ASSIGN_OR_RETURN(const FormatRecord current, Load(volume_id));
  CV_RETURN_IF_ERROR(CheckSuccessor(current, record));
  CV_ASSIGN_OR_RETURN(const std::string text,
                      SerializeJson({
                          {"version", kVersion},
                          {"volume_id", volume_id},
                          {"record", nlohmann::json::parse(SerializeFormatRecord(record))},
                      }));
  return WriteFileAtomically(PathOf(volume_id), text);
}

absl::Status StaticRecords::Remove(const std::string& volume_id) const {
  return RemoveFileDurably(PathOf(volume_id));
}

std::string StaticRecords::DevicePathOf(const std::string& volume_id) const {
  return fmt::format("{}/{}{}", directory_, Hex(Sha256(volume_id)), kDeviceSuffix);
}

absl::Status StaticRecords::StoreDevice(const StaticDevice& device) const {
  const std::string path = DevicePathOf(device.volume_id);
  CV_ASSIGN_OR_RETURN(const std::string text, SerializeJson({{"version", kVersion},
                                                             {"volume_id", device.volume_id},
                                                             {"device", device.device},
                                                             {"luks_uuid", device.luks_uuid}}));
  const auto current = ReadSmallFile(path);
  if (current.ok() && *current == text) return absl::OkStatus();
  return WriteFileAtomically(path, text);
}

absl::StatusOr<std::vector<StaticDevice>> StaticRecords::ListDevices() const {
  CV_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory_));
  std::vector<StaticDevice> devices;
  for (const std::string& name : names) {
    if (!name.ends_with(kDeviceSuffix)) continue;
    auto device = ReadDevice(fmt::format("{}/{}", directory_, name));
    if (device.ok()) devices.push_back(*std::move(device));
  }
  std::ranges::sort(devices, {}, &StaticDevice::volume_id);
  return devices;
}

}  // namespace cryptvol::block
