// Makes bbolt databases page by page, sound ones and others.
#ifndef CRYPTVOL_TESTS_ETCD_BOLT_BUILDER_H_
#define CRYPTVOL_TESTS_ETCD_BOLT_BUILDER_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "etcd/bolt_page.h"

namespace cryptvol::etcd::testing {

inline constexpr size_t kPageBytes = 4096;

struct BuiltElement {
  std::string key;
  std::string value;   // leaves
  uint64_t page = 0;   // branches
  uint32_t flags = 0;  // leaves: 1 for a bucket
};

inline void Put(std::vector<uint8_t>& bytes, size_t offset, uint64_t value, size_t size) {
  for (size_t i = 0; i < size; ++i) bytes[offset + i] = static_cast<uint8_t>(value >> (8 * i));
}

// Makes the checksum of the meta page at `offset` right.
inline void SealMeta(std::vector<uint8_t>& bytes, size_t offset) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < kMetaBytes - 8; ++i) {
    hash = (hash ^ bytes[offset + kPageHeaderBytes + i]) * 0x100000001b3;
  }
  Put(bytes, offset + kPageHeaderBytes + kMetaBytes - 8, hash, 8);
}

// The value of a bucket's element.
inline std::string BucketValue(uint64_t root, const std::string& inline_page = "") {
  std::vector<uint8_t> header(16);
  Put(header, 0, root, 8);
  return std::string(header.begin(), header.end()) + inline_page;
}

class BoltBuilder {
 public:
  // Of that many pages; the root bucket's is page 2.
  explicit BoltBuilder(size_t pages) : bytes_(pages * kPageBytes), pages_(pages) {
    Meta(0, 8);
    Meta(1, 7);
  }

  void Header(uint64_t id, uint16_t kind, size_t count, uint32_t overflow = 0) {
    Put(bytes_, At(id), id, 8);
    Put(bytes_, At(id) + 8, kind, 2);
    Put(bytes_, At(id) + 10, count, 2);
    Put(bytes_, At(id) + 12, overflow, 4);
  }

  void Meta(uint64_t id, uint64_t transaction, uint64_t root = 2, uint64_t freelist = kNoFreelist) {
    Header(id, PageHeader::kMeta, 0);
    const size_t at = At(id) + kPageHeaderBytes;
    Put(bytes_, at, 0xed0cdaed, 4);
    Put(bytes_, at + 4, 2, 4);
    Put(bytes_, at + 8, kPageBytes, 4);
    Put(bytes_, at + 16, root, 8);
    Put(bytes_, at + 32, freelist, 8);
    Put(bytes_, at + 40, pages_, 8);
    Put(bytes_, at + 48, transaction, 8);
    SealMeta(bytes_, At(id));
  }

  void Leaf(uint64_t id, const std::vector<BuiltElement>& elements, uint32_t overflow = 0) {
    Header(id, PageHeader::kLeaf, elements.size(), overflow);
    size_t data = At(id) + kPageHeaderBytes + 16 * elements.size();
    for (size_t i = 0; i < elements.size(); ++i) {
      const size_t at = At(id) + kPageHeaderBytes + 16 * i;
      Put(bytes_, at, elements[i].flags, 4);
      Put(bytes_, at + 4, data - at, 4);
      Put(bytes_, at + 8, elements[i].key.size(), 4);
      Put(bytes_, at + 12, elements[i].value.size(), 4);
      const std::string pair = elements[i].key + elements[i].value;
      std::memcpy(&bytes_[data], pair.data(), pair.size());
      data += pair.size();
    }
  }

  void Branch(uint64_t id, const std::vector<BuiltElement>& elements) {
    Header(id, PageHeader::kBranch, elements.size());
    size_t data = At(id) + kPageHeaderBytes + 16 * elements.size();
    for (size_t i = 0; i < elements.size(); ++i) {
      const size_t at = At(id) + kPageHeaderBytes + 16 * i;
      Put(bytes_, at, data - at, 4);
      Put(bytes_, at + 4, elements[i].key.size(), 4);
      Put(bytes_, at + 8, elements[i].page, 8);
      std::memcpy(&bytes_[data], elements[i].key.data(), elements[i].key.size());
      data += elements[i].key.size();
    }
  }

  void Freelist(uint64_t id, const std::vector<uint64_t>& pages) {
    Header(id, PageHeader::kFreelist, pages.size());
    for (size_t i = 0; i < pages.size(); ++i) Put(bytes_, At(id) + 16 + 8 * i, pages[i], 8);
  }

  static size_t At(uint64_t id) { return id * kPageBytes; }
  std::vector<uint8_t>& bytes() { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
  const size_t pages_;
};

}  // namespace cryptvol::etcd::testing

#endif  // CRYPTVOL_TESTS_ETCD_BOLT_BUILDER_H_
