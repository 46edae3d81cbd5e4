// `cryptvol-csi keygen`: a good key, bare or as a Secret.
#ifndef CRYPTVOL_CSI_KEYGEN_H_
#define CRYPTVOL_CSI_KEYGEN_H_

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "absl/status/status.h"

namespace cryptvol::driver {

struct KeygenOptions {
  std::string secret_name;  // empty: the key alone
  std::string secret_namespace = "cryptvol";
  std::string key_id;  // CRYPTO_KEY_ID; empty: none
};

CLI::App* AddKeygenCommand(CLI::App& app, KeygenOptions& options);

// Writes 256 random bits as 64 hexadecimal digits, without a newline's becoming part of the key;
// with a name, the manifest of a Secret that holds them.
absl::Status Keygen(const KeygenOptions& options, std::FILE* out);

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_KEYGEN_H_
