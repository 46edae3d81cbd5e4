// One deleter template for every C handle: base::Handle<crypt_device, crypt_free>.
#ifndef CRYPTVOL_BASE_C_HANDLE_H_
#define CRYPTVOL_BASE_C_HANDLE_H_

#include <memory>

namespace cryptvol {

template <auto Free>
struct HandleDeleter {
  template <typename T>
  void operator()(T* handle) const {
    Free(handle);
  }
};

template <typename T, auto Free>
using Handle = std::unique_ptr<T, HandleDeleter<Free>>;

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_C_HANDLE_H_
