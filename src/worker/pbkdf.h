// Our choice of a key derivation, as libcryptsetup takes it.
#ifndef CRYPTVOL_WORKER_PBKDF_H_
#define CRYPTVOL_WORKER_PBKDF_H_

#include <libcryptsetup.h>

#include "luks/format_parameters.h"

namespace cryptvol::worker {

// Both point into the parameters.
crypt_pbkdf_type PbkdfOf(const luks::FormatParameters& parameters);
// LUKS1 knows PBKDF2 only; an Argon2 cost has no translation, so it gets our own default.
crypt_pbkdf_type Luks1PbkdfOf(const luks::FormatParameters& parameters);

// Of a recovery keyslot.
crypt_pbkdf_type RecoveryPbkdf();

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_PBKDF_H_
