// The process that works on a backend's own storage for the driver: its disk may hang, and a thread that waits for it
// can be neither ended nor left behind.
#ifndef CRYPTVOL_WORKER_BACKEND_SERVICE_H_
#define CRYPTVOL_WORKER_BACKEND_SERVICE_H_

#include <string>

namespace cryptvol::worker {

// Answers on `socket` until the driver closes its end, each request in a thread of its own. The exit status: what is
// under way then ends with the process.
int ServeBackend(int socket, const std::string& spec, const std::string& state_dir);

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_BACKEND_SERVICE_H_
