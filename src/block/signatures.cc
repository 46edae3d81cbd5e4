#include "block/signatures.h"

#include <blkid/blkid.h>

#include <cerrno>
#include <map>
#include <type_traits>

#include "base/c_handle.h"
#include "base/status.h"

namespace cryptvol::block {
namespace {

using Probe = Handle<std::remove_pointer_t<blkid_probe>, blkid_free_probe>;

absl::StatusOr<Probe> NewProbe(int fd, const std::string& what) {
  Probe probe(blkid_new_probe());
  if (probe == nullptr) {
    return MakeStatus(absl::StatusCode::kResourceExhausted, "probe {}: no memory", what);
  }
  constexpr int kSuperblockFlags = BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_UUID;
  if (blkid_probe_set_device(probe.get(), fd, 0, 0) != 0 ||
      blkid_probe_enable_superblocks(probe.get(), 1) != 0 ||
      blkid_probe_set_superblocks_flags(probe.get(), kSuperblockFlags) != 0 ||
      blkid_probe_enable_partitions(probe.get(), 1) != 0) {
    return MakeStatus(absl::StatusCode::kDataLoss, "probe {}: libblkid cannot begin ({})", what,
                      ErrnoName(errno));
  }
  return probe;
}

std::string Value(const Probe& probe, const char* name) {
  const char* value = nullptr;
  if (blkid_probe_lookup_value(probe.get(), name, &value, nullptr) != 0) return "";
  return value;
}

Signature CurrentSignature(const Probe& probe) {
  Signature signature;
  signature.type = Value(probe, "TYPE");
  signature.uuid = Value(probe, "UUID");
  signature.filesystem = Value(probe, "USAGE") == "filesystem";
  if (signature.type.empty()) {
    signature.type = Value(probe, "PTTYPE");
    signature.partition_table = true;
  }
  return signature;
}

std::string WithArticle(const std::string& type, const char* noun) {
  // By sound: an ext4, an f2fs, an hfs, an ntfs, an xfs; a btrfs, a vfat.
  const bool vowel = type.find_first_of("aefhinox") == 0;
  return fmt::format("{} {} {}", vowel ? "an" : "a", type, noun);
}

}  // namespace

std::string Describe(const Signature& signature) {
  static const auto& names = *new std::map<std::string, std::string>{
      {"gpt", "a GPT partition table"},
      {"dos", "an MBR partition table"},
      {"LVM2_member", "an LVM physical volume"},
      {"linux_raid_member", "a member of an md array"},
      {"swap", "swap space"},
      {"crypto_LUKS", "a LUKS header"},
  };
  auto name = names.find(signature.type);
  if (name != names.end()) return name->second;
  if (signature.partition_table) return WithArticle(signature.type, "partition table");
  return WithArticle(signature.type, signature.filesystem ? "filesystem" : "signature");
}

absl::StatusOr<std::vector<Signature>> FindSignatures(int fd, const std::string& what) {
  CV_ASSIGN_OR_RETURN(const Probe probe, NewProbe(fd, what));
  std::vector<Signature> signatures;
  errno = 0;
  int result;
  while ((result = blkid_do_probe(probe.get())) == 0) {
    signatures.push_back(CurrentSignature(probe));
  }
  if (result > 0) return signatures;
  return MakeStatus(
      absl::StatusCode::kDataLoss,
      "look for signatures on {}: it cannot be read ({}); the disk, or the way to it, fails: see "
      "the kernel's log",
      what, ErrnoName(errno));
}

}  // namespace cryptvol::block
