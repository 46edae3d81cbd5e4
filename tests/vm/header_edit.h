// LUKS2 headers changed as somebody at the storage can: with the right checksums.
#ifndef CRYPTVOL_TESTS_VM_HEADER_EDIT_H_
#define CRYPTVOL_TESTS_VM_HEADER_EDIT_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cryptvol::vm {

std::vector<uint8_t> ReadBytes(const std::string& path, size_t bytes, off_t offset = 0);
void WriteBytes(const std::string& path, const std::vector<uint8_t>& data, off_t offset);

inline constexpr size_t kCopyBytes = 16384;  // of one copy of the metadata, as cryptsetup makes it

// Edits the copy of the metadata that begins at `offset` and has `bytes` bytes.
void EditCopy(const std::string& device, size_t offset,
              const std::function<void(std::vector<uint8_t>&)>& edit, size_t bytes = kCopyBytes);
// The JSON of a copy; the text may be anything.
nlohmann::json JsonOf(const std::vector<uint8_t>& copy);
void PutJson(std::vector<uint8_t>& copy, const std::string& text);
// Of two copies with different numbers, the higher is the newer.
void PutSequence(std::vector<uint8_t>& copy, uint64_t sequence);

// Edits the JSON of both copies, each of `bytes` bytes.
void EditMetadata(const std::string& device, const std::function<void(nlohmann::json&)>& edit,
                  size_t bytes = kCopyBytes);
// Replaces it.
void PutMetadata(const std::string& device, const std::string& text, size_t bytes = kCopyBytes);

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_HEADER_EDIT_H_
