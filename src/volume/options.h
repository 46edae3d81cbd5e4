// What a StorageClass's parameters, and a volume's attributes, say. docs/parameters.md is the
// reference.
//
// CreateVolume's parameters are checked and handed on unchanged as the volume's context, so the
// node parses the same names again; a static PersistentVolume's attributes are written by its
// author.
#ifndef CRYPTVOL_VOLUME_OPTIONS_H_
#define CRYPTVOL_VOLUME_OPTIONS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "luks/format_parameters.h"

namespace cryptvol::volume {

struct VolumeOptions {
  bool encrypted = false;                 // encrypted: what Go's ParseBool takes
  std::string backend;                    // backend: empty means the driver's first
  std::vector<std::string> mkfs_options;  // mkfsOptions: split at white space
  luks::FormatOverrides
      format;            // cipher, keySize, hash, pbkdf, pbkdfIterations, pbkdfMemory, sectorSize
  bool discard = false;  // discard: pass discards down (tells free blocks to the storage)
  bool no_read_workqueue = false;   // noReadWorkqueue
  bool no_write_workqueue = false;  // noWriteWorkqueue
  // recoveryRecipients: who can open the volume without its Secret; used when it is formatted
  std::vector<std::string> recovery_recipients;

  // Only in a static PersistentVolume's attributes:
  std::string device;           // device: an absolute path on the node
  std::string adopt_volume_id;  // adoptVolumeId: the id that the device's token may name
  bool rescue = false;  // rescue: use it read-only, whatever else is asked, and write nothing
};

enum class OptionSource { kStorageClass, kVolumeAttributes };

// Unknown names are INVALID_ARGUMENT, naming the nearest known one, since a misspelt "encryptd"
// must not give a plain volume. Names that Kubernetes adds (csi.storage.k8s.io/...,
// storage.kubernetes.io/...) and, in a StorageClass, nothing else are ignored. Names that belong to
// attributes only are refused in a StorageClass. Options of encryption without `encrypted` are
// refused.
absl::StatusOr<VolumeOptions> ParseVolumeOptions(
    const std::map<std::string, std::string>& parameters, OptionSource source);

// "1 t T TRUE true True" and "0 f F FALSE false False", as Go's strconv.ParseBool.
absl::StatusOr<bool> ParseBool(const std::string& name, const std::string& value);

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_OPTIONS_H_
