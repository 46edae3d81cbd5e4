// Environment variables, as a function, so that tests need not change the process's own.
#ifndef CRYPTVOL_S3_ENVIRONMENT_H_
#define CRYPTVOL_S3_ENVIRONMENT_H_

#include <cstdlib>
#include <functional>
#include <string>

namespace cryptvol::s3 {

// The variable's value; an unset one is empty, and an empty one counts as unset.
using Environment = std::function<std::string(const std::string& name)>;

inline Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::string {
    const char* value = std::getenv(name.c_str());
    return value != nullptr ? value : "";
  };
}

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_ENVIRONMENT_H_
