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

// Edits the JSON of both copies.
void EditMetadata(const std::string& device, const std::function<void(nlohmann::json&)>& edit);

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_HEADER_EDIT_H_
