// What the first operation of a process pays for, paid by the spare while nobody waits.
#ifndef CRYPTVOL_WORKER_WARM_UP_H_
#define CRYPTVOL_WORKER_WARM_UP_H_

namespace cryptvol::worker {

// Maps in the pages of the program and its libraries, which the page cache has, and makes
// libcryptsetup and OpenSSL set up what they set up once. Failures are left to the operation.
void WarmUp();

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_WARM_UP_H_
