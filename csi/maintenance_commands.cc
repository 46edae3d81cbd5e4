#include "csi/maintenance_commands.h"

#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "csi/maintenance_tools.h"
#include "csi/volume_listing.h"
#include "csi/volume_locks.h"
#include "luks/foreign_text.h"
#include "luks/header.h"
#include "luks/recovery_token.h"
#include "luks/token.h"
#include "volume/header_work.h"
#include "volume/recovery_recipients.h"
#include "worker/client.h"

namespace cryptvol::driver {
namespace {

volume::VolumeOptions VolumeOptionsOf(const MaintenanceOptions& options) {
  volume::VolumeOptions result;
  result.encrypted = true;
  result.device = options.device;
  return result;
}

using Work = std::unique_ptr<volume::HeaderWork>;

absl::StatusOr<Work> OpenWork(const Options& options, const MaintenanceOptions& maintenance,
                              const Tools& tools, const std::string& command) {
  CV_ASSIGN_OR_RETURN(VolumeLocks locks, VolumeLocks::Open(options.state_dir));
  CV_ASSIGN_OR_RETURN(auto lock, locks.TryLock(maintenance.volume_id, "cryptvol-csi " + command));
  return volume::HeaderWork::Open(tools.environment, maintenance.volume_id,
                                  VolumeOptionsOf(maintenance), std::move(lock));
}

absl::StatusOr<luks::FormatParameters> NewKeyslot(const MaintenanceOptions& options) {
  luks::FormatOverrides overrides;
  if (!options.pbkdf.empty()) overrides.pbkdf = options.pbkdf;
  return luks::ResolveFormatParameters(overrides, {}, options.new_key_is_random);
}

absl::StatusOr<std::string> LocationOf(const Options& options,
                                       const MaintenanceOptions& maintenance) {
  if (!maintenance.file.empty()) return maintenance.file;
  CV_ASSIGN_OR_RETURN(auto storage, OpenStorage(options));
  CV_ASSIGN_OR_RETURN(auto volume,
                      storage->Open(maintenance.volume_id, VolumeOptionsOf(maintenance)));
  return volume->location();
}

const char* CopyName(luks::CopyState state) {
  switch (state) {
    case luks::CopyState::kGood:
      return "good";
    case luks::CopyState::kOutdated:
      return "outdated";
    case luks::CopyState::kDamaged:
      return "damaged";
    case luks::CopyState::kAbsent:
      break;
  }
  return "absent";
}

nlohmann::json Describe(const luks::Keyslot& slot,
                        const std::vector<luks::RecoveryToken>& recovery) {
  return {{"id", slot.id},
          {"recovery", luks::IsRecoveryKeyslot(recovery, slot.id)},
          {"kdf", slot.kdf},
          {"iterations", slot.kdf_iterations},
          {"memory_kib", slot.kdf_memory_kib},
          {"lanes", slot.kdf_lanes},
          {"encryption", slot.encryption},
          {"key_bits", slot.key_bytes * 8},
          {"ignored", slot.ignored}};
}

absl::StatusOr<nlohmann::json> Describe(const std::string& location, const luks::Header& header) {
  nlohmann::json result = {{"location", location},
                           {"version", header.version},
                           {"uuid", header.uuid},
                           {"primary", CopyName(header.primary)},
                           {"cipher", header.cipher},
                           {"sector_bytes", header.sector_bytes},
                           {"data_offset", header.data_offset},
                           {"keyslots", nlohmann::json::array()}};
  if (header.version == 2) result["secondary"] = CopyName(header.secondary);
  const auto recovery = luks::FindRecoveryTokens(header);
  for (const luks::Keyslot& slot : header.keyslots) {
    result["keyslots"].push_back(Describe(slot, recovery));
  }
  CV_ASSIGN_OR_RETURN(const auto token, luks::FindToken(header));
  if (!token.has_value()) return result;
  const luks::VolumeToken& volume = token->token;
  result["token"] = {{"volume_id", volume.volume_id},
                     {"filesystem", volume.filesystem},
                     {"filesystem_uuid", volume.filesystem_uuid},
                     {"state", volume.state == luks::VolumeState::kReady ? "ready" : "formatting"},
                     {"key_id", volume.key_id}};
  return result;
}

const char* NoteOn(const nlohmann::json& keyslot) {
  if (keyslot["recovery"].get<bool>()) return "recovery: opens for the age recipients";
  return keyslot["ignored"].get<bool>() ? "opened only when asked for by number" : "";
}

void PrintKeyslots(const nlohmann::json& header, std::FILE* out) {
  fmt::print(out, "{:<8} {:<9} {:>10} {:>10}  {}\n", "KEYSLOT", "KDF", "ITERATIONS", "MEMORY KiB",
             "NOTE");
  for (const auto& slot : header["keyslots"]) {
    fmt::print(out, "{:<8} {:<9} {:>10} {:>10}  {}\n", slot["id"].get<int>(),
               slot["kdf"].get<std::string>(), slot["iterations"].get<uint64_t>(),
               slot["memory_kib"].get<uint64_t>(), NoteOn(slot));
  }
}

void PrintHeader(const nlohmann::json& header, std::FILE* out) {
  for (const char* field : {"location", "version", "uuid", "primary", "secondary", "cipher",
                            "sector_bytes", "data_offset"}) {
    if (!header.contains(field)) continue;
    const nlohmann::json& value = header[field];
    fmt::print(out, "{:<16} {}\n", field,
               value.is_string() ? value.get<std::string>() : value.dump());
  }
  if (header.contains("token")) {
    for (const auto& [name, value] : header["token"].items()) {
      // In ASCII: somebody else may have written the token, and this goes to a terminal.
      fmt::print(out, "token {:<10} {}\n", name, value.dump(-1, ' ', true));
    }
  }
  PrintKeyslots(header, out);
}

absl::Status Inspect(const Options& options, const MaintenanceOptions& maintenance,
                     bool keyslots_only, std::FILE* out) {
  CV_ASSIGN_OR_RETURN(const std::string location, LocationOf(options, maintenance));
  CV_ASSIGN_OR_RETURN(const luks::Header header, ReadHeader(location));
  CV_ASSIGN_OR_RETURN(const nlohmann::json described, Describe(location, header));
  if (maintenance.json) {
    fmt::print(out, "{}\n", described.dump(2, ' ', true));
  } else if (keyslots_only) {
    PrintKeyslots(described, out);
  } else {
    PrintHeader(described, out);
  }
  return absl::OkStatus();
}

absl::Status AddKey(const Options& options, const MaintenanceOptions& maintenance, std::FILE* out) {
  CV_ASSIGN_OR_RETURN(const luks::FormatParameters parameters, NewKeyslot(maintenance));
  CV_ASSIGN_OR_RETURN(const SecretBytes existing, ReadKey(maintenance.key_file));
  CV_ASSIGN_OR_RETURN(const SecretBytes added, ReadKey(maintenance.new_key_file));
  CV_ASSIGN_OR_RETURN(auto tools, OpenTools(options));
  CV_ASSIGN_OR_RETURN(Work work, OpenWork(options, maintenance, *tools, "key add"));
  CV_ASSIGN_OR_RETURN(const int keyslot, work->AddKey(existing, added, parameters));
  fmt::print(out, "The new key opens keyslot {}.\n", keyslot);
  return absl::OkStatus();
}

absl::Status RemoveKey(const Options& options, const MaintenanceOptions& maintenance,
                       std::FILE* out) {
  CV_ASSIGN_OR_RETURN(const SecretBytes remaining, ReadKey(maintenance.key_file));
  CV_ASSIGN_OR_RETURN(auto tools, OpenTools(options));
  CV_ASSIGN_OR_RETURN(Work work, OpenWork(options, maintenance, *tools, "key remove"));
  CV_RETURN_IF_ERROR(work->RemoveKey(remaining, maintenance.keyslot));
  fmt::print(out, "Keyslot {} is gone.\n", maintenance.keyslot);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> NewRecipients(const MaintenanceOptions& options) {
  std::string text = absl::StrJoin(options.recipients, "\n");
  if (!options.recipients_file.empty()) {
    CV_ASSIGN_OR_RETURN(const std::string file, ReadSmallFile(options.recipients_file));
    text += "\n" + file;
  }
  const bool none = options.recipients.empty() && options.recipients_file.empty();
  if (none != options.no_recipients) {
    return InvalidArgument(
        "give --recipient or --recipients-file, or --none to have no recovery keyslot");
  }
  if (none) return std::vector<std::string>();
  return volume::ParseRecoveryRecipients(text);
}

absl::Status SetRecovery(const Options& options, const MaintenanceOptions& maintenance,
                         std::FILE* out) {
  CV_ASSIGN_OR_RETURN(const std::vector<std::string> recipients, NewRecipients(maintenance));
  CV_ASSIGN_OR_RETURN(const SecretBytes key, ReadKey(maintenance.key_file));
  CV_ASSIGN_OR_RETURN(auto tools, OpenTools(options));
  CV_ASSIGN_OR_RETURN(Work work, OpenWork(options, maintenance, *tools, "key set-recovery"));
  CV_RETURN_IF_ERROR(work->SetRecovery(key, recipients));
  if (recipients.empty()) {
    fmt::print(out, "The volume has no recovery keyslot any more.\n");
  } else {
    fmt::print(out, "Recipients that can open the volume with cryptvol-csi recover: {}.\n",
               recipients.size());
  }
  return absl::OkStatus();
}

absl::Status SaveHeader(const Options& options, const MaintenanceOptions& maintenance,
                        std::FILE* out) {
  CV_ASSIGN_OR_RETURN(auto tools, OpenTools(options));
  CV_ASSIGN_OR_RETURN(Work work, OpenWork(options, maintenance, *tools, "header save"));
  CV_RETURN_IF_ERROR(work->SaveHeader(maintenance.file));
  fmt::print(out, "Saved in {}. Whoever has it and the key can open the volume.\n",
             maintenance.file);
  return absl::OkStatus();
}

absl::Status RestoreHeader(const Options& options, const MaintenanceOptions& maintenance,
                           std::FILE* out) {
  CV_ASSIGN_OR_RETURN(const SecretBytes key, ReadKey(maintenance.key_file));
  CV_ASSIGN_OR_RETURN(auto tools, OpenTools(options));
  CV_ASSIGN_OR_RETURN(Work work, OpenWork(options, maintenance, *tools, "header restore"));
  std::string kept = maintenance.kept;
  if (kept.empty()) kept = fmt::format("{}.replaced-{}", maintenance.file, std::time(nullptr));
  CV_RETURN_IF_ERROR(work->RestoreHeader(maintenance.file, key, kept));
  fmt::print(out, "Restored. What was there is in {}.\n", kept);
  return absl::OkStatus();
}

absl::Status Adopt(const Options& options, const MaintenanceOptions& maintenance, std::FILE* out) {
  CV_ASSIGN_OR_RETURN(const SecretBytes key, ReadKey(maintenance.key_file));
  CV_ASSIGN_OR_RETURN(auto tools, OpenTools(options));
  CV_ASSIGN_OR_RETURN(Work work, OpenWork(options, maintenance, *tools, "adopt"));
  CV_RETURN_IF_ERROR(work->Adopt(key));
  fmt::print(out, "The device is volume {} now.\n", maintenance.volume_id);
  return absl::OkStatus();
}

nlohmann::json ToJson(const ListedVolume& volume) {
  return {{"volume_id", volume.volume_id}, {"backend", volume.backend},
          {"device", volume.device},       {"capacity_bytes", volume.capacity_bytes},
          {"attached", volume.attached},   {"encrypted", volume.encrypted},
          {"keyslots", volume.keyslots},   {"other_keyslots", volume.other_keyslots},
          {"unknown", volume.unknown},     {"recovery", volume.recovery},
          {"key_id", volume.key_id},       {"note", volume.note}};
}

absl::StatusOr<std::vector<ListedVolume>> ListStatic(const Options& options,
                                                     const volume::Storage& storage) {
  CV_ASSIGN_OR_RETURN(const auto devices, storage.static_records().ListDevices());
  if (devices.empty()) return std::vector<ListedVolume>();
  std::string program = options.worker;
  if (program.empty()) {
    CV_ASSIGN_OR_RETURN(program, worker::FindWorkerProgram());
  }
  CV_ASSIGN_OR_RETURN(VolumeLocks locks, VolumeLocks::Open(options.state_dir));
  worker::ClientFactory workers(program);
  return ListStaticVolumes(devices, storage.static_records(), workers, locks);
}

std::string Note(const ListedVolume& volume) {
  if (volume.volume_id.empty())
    return volume.backend + ": its volumes are not known: " + volume.note;
  if (volume.device.empty() || volume.note.empty()) return volume.device + volume.note;
  return volume.device + ": " + volume.note;
}

absl::Status ListVolumes(const Options& options, const MaintenanceOptions& maintenance,
                         std::FILE* out) {
  CV_ASSIGN_OR_RETURN(auto storage, OpenStorage(options));
  std::vector<ListedVolume> volumes = ListBackendVolumes(*storage);
  CV_ASSIGN_OR_RETURN(const std::vector<ListedVolume> others, ListStatic(options, *storage));
  volumes.insert(volumes.end(), others.begin(), others.end());
  if (maintenance.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const ListedVolume& volume : volumes) list.push_back(ToJson(volume));
    fmt::print(out, "{}\n", list.dump(2, ' ', true));
    return absl::OkStatus();
  }
  static constexpr char kRow[] = "{:<44} {:>16} {:<8} {:>8} {:>6} {:<8} {:<20} {}\n";
  fmt::print(out, kRow, "VOLUME", "BYTES", "ATTACHED", "KEYSLOTS", "OTHERS", "RECOVERY", "KEY ID",
             "NOTE");
  for (const ListedVolume& volume : volumes) {
    fmt::print(out, kRow, volume.volume_id.empty() ? "?" : luks::Printable(volume.volume_id),
               volume.capacity_bytes, volume.attached ? "yes" : "no", volume.keyslots,
               volume.other_keyslots, volume.recovery ? "yes" : "no",
               luks::Printable(volume.key_id), luks::Printable(Note(volume)));
  }
  return absl::OkStatus();
}

CLI::App* AddVolumeCommand(CLI::App& parent, const char* name, const char* help,
                           MaintenanceOptions& options) {
  CLI::App* command = parent.add_subcommand(name, help);
  command
      ->add_option("VOLUME", options.volume_id,
                   "The volume's id (a PersistentVolume's "
                   "volumeHandle)")
      ->required();
  command->add_option("--device", options.device, "The device of a static volume");
  return command;
}

void AddKeyFile(CLI::App* command, MaintenanceOptions& options, const char* help) {
  command->add_option("--key-file", options.key_file, help)->required();
}

}  // namespace

MaintenanceCommands::MaintenanceCommands(CLI::App& app) {
  const char* json_help = "Print JSON";
  volumes_ = app.add_subcommand("volumes",
                                "List the volumes of the backends (--backend) and the static ones "
                                "that were staged on this node, with the id of the key that opens "
                                "each");
  volumes_->add_flag("--json", options_.json, json_help);

  CLI::App* key = app.add_subcommand("key", "Look at and change a volume's keyslots");
  key->require_subcommand(1);
  key_list_ = key->add_subcommand(
      "list",
      "List the keyslots of a volume, or, without VOLUME, which key opens each volume of the "
      "backends and each static one that was staged on this node; needs no key");
  key_list_->add_option("VOLUME", options_.volume_id, "The volume's id");
  key_list_->add_option("--device", options_.device, "The device of a static volume");
  key_list_->add_flag("--json", options_.json, json_help);
  key_add_ = AddVolumeCommand(*key, "add", "Add a keyslot for another key", options_);
  AddKeyFile(key_add_, options_, "A file with a key that opens the volume; - is standard input");
  key_add_->add_option("--new-key-file", options_.new_key_file, "A file with the new key")
      ->required();
  key_add_->add_flag("--random", options_.new_key_is_random,
                     "The new key has 256 random bits and needs no stretching");
  key_add_->add_option("--pbkdf", options_.pbkdf, "argon2id (the default), argon2i, pbkdf2");
  key_remove_ = AddVolumeCommand(*key, "remove", "Destroy a keyslot", options_);
  AddKeyFile(key_remove_, options_, "A file with a key that opens another keyslot");
  key_remove_->add_option("--keyslot", options_.keyslot, "Its number, from key list")->required();
  key_set_recovery_ = AddVolumeCommand(
      *key, "set-recovery", "Replace the age recipients that can open the volume", options_);
  AddKeyFile(key_set_recovery_, options_, "A file with a key that opens the volume");
  key_set_recovery_->add_option("-r,--recipient", options_.recipients, "An age recipient (age1...)")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  key_set_recovery_->add_option("-R,--recipients-file", options_.recipients_file,
                                "A file of age recipients");
  key_set_recovery_->add_flag("--none", options_.no_recipients, "Remove the recovery keyslot");

  CLI::App* header = app.add_subcommand("header", "Look at, save and restore a volume's header");
  header->require_subcommand(1);
  header_inspect_ = header->add_subcommand(
      "inspect", "Show keyslots, their costs, the token, both copies; needs no key");
  header_inspect_->add_option("VOLUME", options_.volume_id, "The volume's id");
  header_inspect_->add_option("--device", options_.device, "The device of a static volume");
  header_inspect_->add_option("--file", options_.file, "A saved header, instead of a volume");
  header_inspect_->add_flag("--json", options_.json, json_help);
  header_save_ = AddVolumeCommand(*header, "save", "Save the header to a new file", options_);
  header_save_->add_option("FILE", options_.file, "The file")->required();
  header_restore_ = AddVolumeCommand(*header, "restore",
                                     "Put a saved header back, if it belongs there", options_);
  header_restore_->add_option("FILE", options_.file, "The saved header")->required();
  AddKeyFile(header_restore_, options_, "A file with a key that opens the saved header");
  header_restore_->add_option("--keep", options_.kept,
                              "Where to keep what is replaced (default: beside FILE)");

  adopt_ = AddVolumeCommand(app, "adopt", "Write this volume's id into a device that is another's",
                            options_);
  AddKeyFile(adopt_, options_, "A file with a key that opens the device");
}

std::optional<absl::Status> MaintenanceCommands::Run(const Options& options, std::FILE* out) {
  if (volumes_->parsed()) return ListVolumes(options, options_, out);
  if (key_list_->parsed() && options_.volume_id.empty()) return ListVolumes(options, options_, out);
  if (key_list_->parsed()) return Inspect(options, options_, /*keyslots_only=*/true, out);
  if (key_add_->parsed()) return AddKey(options, options_, out);
  if (key_remove_->parsed()) return RemoveKey(options, options_, out);
  if (key_set_recovery_->parsed()) return SetRecovery(options, options_, out);
  if (header_inspect_->parsed()) return Inspect(options, options_, /*keyslots_only=*/false, out);
  if (header_save_->parsed()) return SaveHeader(options, options_, out);
  if (header_restore_->parsed()) return RestoreHeader(options, options_, out);
  if (adopt_->parsed()) return Adopt(options, options_, out);
  return std::nullopt;
}

}  // namespace cryptvol::driver
