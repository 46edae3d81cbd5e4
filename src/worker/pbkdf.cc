#include "worker/pbkdf.h"

#include "luks/recovery_token.h"

namespace cryptvol::worker {

crypt_pbkdf_type PbkdfOf(const luks::FormatParameters& parameters) {
  crypt_pbkdf_type pbkdf = {};
  pbkdf.type = parameters.pbkdf.c_str();
  pbkdf.hash = parameters.hash.c_str();
  pbkdf.iterations = parameters.pbkdf_iterations;
  pbkdf.max_memory_kb = parameters.pbkdf_memory_kib;
  pbkdf.parallel_threads = parameters.pbkdf_lanes;
  pbkdf.flags = CRYPT_PBKDF_NO_BENCHMARK;
  return pbkdf;
}

crypt_pbkdf_type Luks1PbkdfOf(const luks::FormatParameters& parameters) {
  crypt_pbkdf_type pbkdf = PbkdfOf(parameters);
  if (parameters.pbkdf == CRYPT_KDF_PBKDF2) return pbkdf;
  pbkdf.type = CRYPT_KDF_PBKDF2;
  pbkdf.iterations = luks::kDefaultPbkdf2Iterations;
  pbkdf.max_memory_kb = 0;
  pbkdf.parallel_threads = 0;
  return pbkdf;
}

crypt_pbkdf_type RecoveryPbkdf() {
  crypt_pbkdf_type pbkdf = {};
  pbkdf.type = CRYPT_KDF_PBKDF2;
  pbkdf.hash = "sha256";
  pbkdf.iterations = luks::kRecoveryIterations;
  pbkdf.flags = CRYPT_PBKDF_NO_BENCHMARK;
  return pbkdf;
}

}  // namespace cryptvol::worker
