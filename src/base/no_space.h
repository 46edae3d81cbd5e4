// A full disk, told from other errors.
#ifndef CRYPTVOL_BASE_NO_SPACE_H_
#define CRYPTVOL_BASE_NO_SPACE_H_

#include "absl/status/status.h"

namespace cryptvol {

// Whether it is what ErrnoStatus (base/status.h) makes of ENOSPC or EDQUOT, however often it was
// annotated since.
bool IsNoSpace(const absl::Status& status);

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_NO_SPACE_H_
