// What the tests of etcd share: refusals by name, and draining a source.
#ifndef CRYPTVOL_TESTS_ETCD_TESTING_H_
#define CRYPTVOL_TESTS_ETCD_TESTING_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/stream.h"
#include "gmock/gmock.h"
#include "tests/etcd/memory_source.h"

namespace cryptvol::etcd::testing {

MATCHER_P2(Fails, code, words, "") {
  const absl::Status status = cryptvol::internal::ToStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code && ::testing::Value(Message(status), ::testing::HasSubstr(words));
}

MATCHER(IsOk, "") {
  const absl::Status status = cryptvol::internal::ToStatus(arg);
  *result_listener << status.ToString();
  return status.ok();
}

// Until its end, or its error; `bytes` are what came before.
struct Drained {
  std::vector<uint8_t> bytes;
  absl::Status status;
};

inline Drained Drain(ByteSource& source) {
  Drained drained;
  std::array<uint8_t, 5000> buffer;  // no divisor of what etcd sends
  while (true) {
    const absl::StatusOr<size_t> got = source.Read(buffer);
    drained.status = got.status();
    if (!got.ok() || *got == 0) return drained;
    drained.bytes.insert(drained.bytes.end(), buffer.begin(),
                         buffer.begin() + static_cast<std::ptrdiff_t>(*got));
  }
}

}  // namespace cryptvol::etcd::testing

#endif  // CRYPTVOL_TESTS_ETCD_TESTING_H_
