#include "worker/warm_up.h"

#include <libcryptsetup.h>
#include <openssl/evp.h>
#include <sys/mman.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <string>

#include "base/c_handle.h"
#include "fmt/format.h"
#include "worker/crypt_log.h"
#include "worker/header_copy.h"

namespace cryptvol::worker {
namespace {

// Code and constants of files. Each would cost a page fault at its first use.
void MapInCode() {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    unsigned long from = 0;
    unsigned long to = 0;
    std::array<char, 5> mode = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, mode.data()) != 3) continue;
    const bool of_file = line.find(" /") != std::string::npos;
    if (!of_file || mode[0] != 'r' || mode[1] == 'w') continue;
    ::madvise(reinterpret_cast<void*>(from), to - from, MADV_POPULATE_READ);
  }
}

void FetchDigest() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> sum;
  EVP_Digest(sum.data(), sum.size(), sum.data(), nullptr, EVP_sha256(), nullptr);
}

void LoadNothing() {
  CaptureCryptLog();
  auto file = NewHeaderFile();
  if (!file.ok()) return;
  crypt_device* raw = nullptr;
  if (crypt_init(&raw, fmt::format("/proc/self/fd/{}", file->get()).c_str()) < 0) return;
  const Handle<crypt_device, crypt_free> device(raw);
  // Fails, there being no header; but its cryptographic backend is ready then.
  crypt_load(device.get(), CRYPT_LUKS2, nullptr);
  TakeCryptLog();
}

}  // namespace

void WarmUp() {
  MapInCode();
  FetchDigest();
  LoadNothing();
}

}  // namespace cryptvol::worker
