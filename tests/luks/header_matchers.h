// How tests name a refusal: its code, and words of its message.
#ifndef CRYPTVOL_TESTS_LUKS_HEADER_MATCHERS_H_
#define CRYPTVOL_TESTS_LUKS_HEADER_MATCHERS_H_

#include "base/status.h"
#include "gmock/gmock.h"

namespace cryptvol::luks::testing {

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

}  // namespace cryptvol::luks::testing

#endif  // CRYPTVOL_TESTS_LUKS_HEADER_MATCHERS_H_
