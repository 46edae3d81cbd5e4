#include "csi/recover_command.h"

#include <sys/stat.h>

#include <memory>
#include <utility>

#include "absl/strings/str_join.h"
#include "age/key_file.h"
#include "base/status.h"
#include "csi/maintenance_tools.h"
#include "csi/volume_listing.h"
#include "csi/volume_locks.h"
#include "luks/recovery_token.h"
#include "luks/token.h"
#include "volume/unlock.h"

namespace cryptvol::driver {
namespace {

absl::Status CheckOptions(const RecoverOptions& options) {
  if (options.mapping.empty() == options.new_key_file.empty()) {
    return InvalidArgument(
        "give --open=NAME to open the device, or --new-key-file=FILE to give it another key");
  }
  if (options.mapping.find('/') != std::string::npos) {
    return InvalidArgument("--open={}: takes a name below /dev/mapper", options.mapping);
  }
  struct stat file;
  if (::stat(options.device.c_str(), &file) == 0 && S_ISREG(file.st_mode)) {
    return InvalidArgument(
        "{} is a file; make it a device first: losetup --find --show {}, and give what that prints",
        options.device, options.device);
  }
  return absl::OkStatus();
}

absl::StatusOr<age::Identities> ReadIdentities(const std::string& file) {
  CV_ASSIGN_OR_RETURN(const SecretBytes content, ReadKey(file));
  const std::string_view text(content.chars(), content.size());
  if (age::IsEncryptedKeyFile(text)) {
    return InvalidArgument("{} is encrypted: age -d {} | cryptvol-csi recover --identity=- ...",
                           file, file);
  }
  return age::ParseIdentitiesFile(text, age::PluginOptions::FromEnvironment());
}

// A driver that runs here must not work on the volume meanwhile. Of a copy somewhere else, nobody
// knows.
absl::StatusOr<std::shared_ptr<volume::OperationLock>> LockVolume(const Options& options,
                                                                  const luks::Header& header,
                                                                  const std::string& device) {
  CV_ASSIGN_OR_RETURN(const auto token, luks::FindToken(header));
  CV_ASSIGN_OR_RETURN(VolumeLocks locks, VolumeLocks::Open(options.state_dir));
  return locks.TryLock(token.has_value() ? token->token.volume_id : device, "cryptvol-csi recover");
}

// The passphrase of the first recovery keyslot that an identity opens.
absl::StatusOr<SecretBytes> FindPassphrase(const std::vector<luks::RecoveryToken>& tokens,
                                           const age::Identities& identities,
                                           const std::string& device) {
  absl::Status failure = FailedPrecondition(
      "{} has no recovery keyslot: it was made without recoveryRecipients", device);
  for (const luks::RecoveryToken& token : tokens) {
    auto passphrase = age::DecryptKeyFile(token.age_file, identities);
    if (passphrase.ok()) return passphrase;
    failure = MakeStatus(passphrase.status().code(),
                         "the recovery key of {} (token {}, keyslot {}) was not decrypted: {}",
                         device, token.id, token.keyslot, Message(passphrase.status()));
  }
  return failure;
}

class Recovery {
 public:
  Recovery(const Tools& tools, const RecoverOptions& options,
           std::shared_ptr<volume::OperationLock> lock)
      : env_(tools.environment), options_(options), worker_(env_.workers->New(std::move(lock))) {}

  absl::Status Unlock(const age::Identities& identities) {
    CV_ASSIGN_OR_RETURN(const volume::Inspection inspection,
                        worker_->Inspect(options_.device, After(env_.limits.inspect)));
    CV_RETURN_IF_ERROR(inspection.header_error);
    if (!inspection.header.has_value()) {
      return FailedPrecondition(
          "{} has no LUKS header: it holds {}", options_.device,
          inspection.device.found.empty() ? "nothing" : inspection.device.found);
    }
    if (inspection.header->token.has_value()) {
      volume_id_ = inspection.header->token->token.volume_id;
    }
    CV_ASSIGN_OR_RETURN(const SecretBytes passphrase,
                        FindPassphrase(inspection.header->recovery, identities, options_.device));
    // Keyslots with costly key derivations may come before the recovery keyslot.
    CV_ASSIGN_OR_RETURN(const volume::KdfBudget::Grant grant,
                        Budget(inspection.header->kdf_memory_bytes));
    return worker_->Unlock(passphrase, After(env_.limits.unlock)).status();
  }

  absl::Status Open(std::FILE* out) {
    volume::ActivateOptions activate;
    activate.name = options_.mapping;
    activate.read_only = options_.read_only;
    CV_RETURN_IF_ERROR(worker_->Activate(activate, After(env_.limits.map)).status());
    fmt::print(out, "Opened as {}. Close it with: cryptsetup close {}\n",
               volume::MappingPath(options_.mapping), options_.mapping);
    return absl::OkStatus();
  }

  absl::Status AddKey(std::FILE* out) {
    CV_ASSIGN_OR_RETURN(const SecretBytes key, ReadKey(options_.new_key_file));
    CV_ASSIGN_OR_RETURN(const luks::FormatParameters parameters,
                        luks::ResolveFormatParameters({}, {}, false));
    CV_ASSIGN_OR_RETURN(const volume::KdfBudget::Grant grant,
                        Budget(parameters.kdf_memory_bytes()));
    CV_ASSIGN_OR_RETURN(const int keyslot,
                        worker_->AddKeyslot(parameters, key, After(2 * env_.limits.unlock)));
    if (!volume_id_.empty()) volume::KeepHeader(env_, options_.device, volume_id_);
    fmt::print(out, "The new key opens keyslot {}.\n", keyslot);
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<volume::KdfBudget::Grant> Budget(uint64_t bytes) {
    return volume::AcquireKdfMemory(env_, bytes);
  }

  static Deadline After(std::chrono::milliseconds limit) { return Deadline::After(limit); }

  const volume::Environment& env_;
  const RecoverOptions& options_;
  std::unique_ptr<volume::DeviceWorker> worker_;
  std::string volume_id_;  // as the token says; empty without one
};

absl::Status Recover(const Options& options, const RecoverOptions& recover, std::FILE* out) {
  CV_RETURN_IF_ERROR(CheckOptions(recover));
  CV_ASSIGN_OR_RETURN(const age::Identities identities, ReadIdentities(recover.identity_file));
  const auto header = ReadHeader(recover.device);
  if (!header.ok()) return Annotate(header.status(), recover.device);
  CV_ASSIGN_OR_RETURN(auto lock, LockVolume(options, *header, recover.device));
  CV_ASSIGN_OR_RETURN(auto tools, OpenTools(options));
  Recovery recovery(*tools, recover, std::move(lock));
  CV_RETURN_IF_ERROR(recovery.Unlock(identities));
  return recover.mapping.empty() ? recovery.AddKey(out) : recovery.Open(out);
}

}  // namespace

RecoverCommand::RecoverCommand(CLI::App& app)
    : command_(app.add_subcommand(
          "recover",
          "Open a volume, or a block-level copy of it, with an age identity, without its Secret")) {
  command_->add_option("DEVICE", options_.device, "The device that has the volume's LUKS header")
      ->required();
  command_
      ->add_option("-i,--identity", options_.identity_file,
                   "A file of age identities, of which one belongs to a recoveryRecipient; - is "
                   "standard input")
      ->required();
  command_->add_option("--open", options_.mapping, "Open it as /dev/mapper/NAME");
  command_->add_flag("--read-only", options_.read_only, "With --open: nothing can be written");
  command_->add_option("--new-key-file", options_.new_key_file,
                       "Add a keyslot for the key in this file");
}

std::optional<absl::Status> RecoverCommand::Run(const Options& options, std::FILE* out) {
  if (!command_->parsed()) return std::nullopt;
  return Recover(options, options_, out);
}

}  // namespace cryptvol::driver
