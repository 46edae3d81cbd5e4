#include "base/secret_bytes.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/status.h"

namespace cryptvol {
namespace {

size_t RoundUpToPages(size_t size) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return (size + page - 1) / page * page;
}

}  // namespace

SecretBytes::SecretBytes(SecretBytes&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, 0)) {}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  if (this != &other) {
    Release();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    mapped_ = std::exchange(other.mapped_, 0);
  }
  return *this;
}

SecretBytes::~SecretBytes() { Release(); }

void SecretBytes::Release() {
  if (data_ == nullptr) return;
  ::explicit_bzero(data_, mapped_);
  ::munmap(data_, mapped_);
  data_ = nullptr;
  size_ = 0;
  mapped_ = 0;
}

absl::StatusOr<SecretBytes> SecretBytes::Allocate(size_t size) {
  if (size == 0) return SecretBytes();
  const size_t mapped = RoundUpToPages(size);
  void* memory =
      ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return ErrnoStatus(errno, fmt::format("map {} bytes for a key", mapped));
  SecretBytes secret(static_cast<uint8_t*>(memory), size, mapped);
  if (::mlock(memory, mapped) != 0) {
    return MakeStatus(absl::StatusCode::kResourceExhausted,
                      "lock {} bytes of memory for a key: {}; raise RLIMIT_MEMLOCK or give the "
                      "process CAP_IPC_LOCK",
                      mapped, ErrnoName(errno));
  }
  if (::madvise(memory, mapped, MADV_DONTDUMP) != 0 ||
      ::madvise(memory, mapped, MADV_DONTFORK) != 0) {
    return ErrnoStatus(errno, "keep a key's memory out of dumps and forks");
  }
  return secret;
}

absl::StatusOr<SecretBytes> SecretBytes::CopyOf(std::span<const uint8_t> bytes) {
  CV_ASSIGN_OR_RETURN(SecretBytes secret, Allocate(bytes.size()));
  if (!bytes.empty()) std::memcpy(secret.data(), bytes.data(), bytes.size());
  return secret;
}

absl::StatusOr<SecretBytes> SecretBytes::CopyOf(std::string_view bytes) {
  return CopyOf(std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

bool SecretBytes::Equals(const SecretBytes& other) const {
  if (size_ != other.size_) return false;
  uint8_t difference = 0;
  for (size_t i = 0; i < size_; ++i) difference |= static_cast<uint8_t>(data_[i] ^ other.data_[i]);
  return difference == 0;
}

void WipeString(std::string& text) {
  if (text.empty()) return;
  ::explicit_bzero(text.data(), text.size());
  text.clear();
}

absl::Status ForbidCoreDumps() {
  const rlimit none = {0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return ErrnoStatus(errno, "forbid core dumps");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return ErrnoStatus(errno, "forbid core dumps");
  return absl::OkStatus();
}

}  // namespace cryptvol
