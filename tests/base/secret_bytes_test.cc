#include "base/secret_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <type_traits>

namespace cryptvol {
namespace {

using ::testing::HasSubstr;

static_assert(!std::is_copy_constructible_v<SecretBytes>);
static_assert(!std::is_convertible_v<SecretBytes, std::string>);

// The kernel's flags of the mapping that holds this address.
std::string FlagsOf(const void* address) {
  std::ifstream smaps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  while (std::getline(smaps, line)) {
    unsigned long from = 0;
    unsigned long to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) {
      const auto at = reinterpret_cast<unsigned long>(address);
      inside = from <= at && at < to;
    }
    if (inside && line.starts_with("VmFlags:")) return line + " ";
  }
  return "";
}

// Locked, out of dumps, out of forks: as the kernel sees it.
TEST(SecretBytes, LivesInProtectedMemory) {
  const SecretBytes secret = *SecretBytes::CopyOf("a passphrase");
  const std::string flags = FlagsOf(secret.data());
#ifndef CRYPTVOL_SANITIZED                // these turn mlock off
  EXPECT_THAT(flags, HasSubstr(" lo "));  // locked
#endif
  EXPECT_THAT(flags, HasSubstr(" dd "));  // not dumped
  EXPECT_THAT(flags, HasSubstr(" dc "));  // not copied on fork
}

// The bytes are as given, and a clone is independent.
TEST(SecretBytes, KeepsExactBytes) {
  const std::string bytes("with a NUL \0 and a newline\n", 26);
  SecretBytes secret = *SecretBytes::CopyOf(bytes);
  EXPECT_EQ(bytes, std::string(secret.chars(), secret.size()));
  const SecretBytes clone = *secret.Clone();
  secret.data()[0] = 'x';
  EXPECT_EQ(bytes, std::string(clone.chars(), clone.size()));
  EXPECT_FALSE(secret.Equals(clone));
}

// A moved-from secret is empty, and the memory has one owner.
TEST(SecretBytes, Moves) {
  SecretBytes a = *SecretBytes::CopyOf("one");
  SecretBytes b = std::move(a);
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): what a move leaves is the promise
  EXPECT_EQ(3u, b.size());
  b = *SecretBytes::CopyOf("other");
  EXPECT_EQ(5u, b.size());
}

// The pages are unmapped, not merely wiped: nothing of a secret can be found afterwards.
TEST(SecretBytes, LeavesNothingBehind) {
  const void* address = nullptr;
  {
    const SecretBytes secret = *SecretBytes::CopyOf("gone soon");
    address = secret.data();
    ASSERT_NE("", FlagsOf(address));
  }
  unsigned char resident = 0;
  EXPECT_NE(0, ::mincore(const_cast<void*>(address), 1, &resident));
}

// Empty is a value of its own: no mapping, no error.
TEST(SecretBytes, MayBeEmpty) {
  EXPECT_TRUE(SecretBytes::CopyOf("")->empty());
  EXPECT_TRUE(SecretBytes::Allocate(0)->Equals(SecretBytes()));
}

// A string of somebody else's is overwritten where it lies.
TEST(WipeString, OverwritesInPlace) {
  std::string text(100, 's');
  const char* data = text.data();
  WipeString(text);
  EXPECT_TRUE(text.empty());
  EXPECT_EQ(std::string(99, '\0'), std::string(data + 1, 99));
}

}  // namespace
}  // namespace cryptvol
