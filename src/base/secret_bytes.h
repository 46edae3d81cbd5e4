// Bytes that must not leak: passphrases and volume keys.
#ifndef CRYPTVOL_BASE_SECRET_BYTES_H_
#define CRYPTVOL_BASE_SECRET_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cryptvol {

// A block of memory of its own pages: locked (never swapped), left out of core dumps, not inherited
// by a fork, wiped before it is released. Move-only; there is no stream operator, no comparison
// that leaks time, and no way to a std::string, so that a key cannot reach a log by accident.
//
// Not thread-safe; distinct objects may be used by distinct threads.
class SecretBytes {
 public:
  SecretBytes() = default;
  SecretBytes(SecretBytes&& other) noexcept;
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes();

  // `size` zero bytes. RESOURCE_EXHAUSTED, naming RLIMIT_MEMLOCK, when the memory cannot be locked.
  static absl::StatusOr<SecretBytes> Allocate(size_t size);
  static absl::StatusOr<SecretBytes> CopyOf(std::span<const uint8_t> bytes);
  static absl::StatusOr<SecretBytes> CopyOf(std::string_view bytes);

  absl::StatusOr<SecretBytes> Clone() const { return CopyOf(span()); }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  std::span<uint8_t> span() { return {data_, size_}; }
  std::span<const uint8_t> span() const { return {data_, size_}; }
  // For C interfaces that take a passphrase as (const char*, size).
  const char* chars() const { return reinterpret_cast<const char*>(data_); }

  // Time does not depend on where the difference lies.
  bool Equals(const SecretBytes& other) const;

 private:
  SecretBytes(uint8_t* data, size_t size, size_t mapped)
      : data_(data), size_(size), mapped_(mapped) {}
  void Release();

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t mapped_ = 0;  // bytes of the mapping: size_ rounded up to whole pages
};

// Overwrites a string that held a secret and was made by somebody else's code (a protobuf field).
void WipeString(std::string& text);

// Makes this process unfit for core dumps and for ptrace by others of the same user. For programs
// that hold keys, at the start of main.
absl::Status ForbidCoreDumps();

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_SECRET_BYTES_H_
