// Death at a chosen system call: what a process does that writes, syncs, maps or mounts is counted,
// and at a given number the driver and the process that got there, or one of them, are killed with
// SIGKILL, before the call takes effect.
//
// The counting is in libcryptvol_kill_points.so (kill_points_preload.cc), which the processes under
// test preload; this is what they share with the test: a file that the environment names.
#ifndef CRYPTVOL_TESTS_VM_KILL_POINTS_H_
#define CRYPTVOL_TESTS_VM_KILL_POINTS_H_

#include <atomic>

namespace cryptvol::vm {

// Who dies when the process that gets to the point does not die together with the driver.
enum class Victim : int {
  kBoth,
  kSelf,    // it alone: what happens when a worker is killed for memory
  kDriver,  // the driver alone; a worker goes on: what a container that is started again leaves
};

struct KillPoints {
  static constexpr char kVariable[] = "CRYPTVOL_KILL_POINTS";  // the file's path

  std::atomic<int> at;      // the call that dies, from 1; 0: none, and nothing is counted
  std::atomic<int> count;   // calls since it was set
  std::atomic<int> driver;  // the process that dies with it
  std::atomic<int> dead;    // 1: it happened; whoever gets to another call dies too, if it is kBoth
  std::atomic<Victim> victim;
  char where[64];  // "cryptvol-worker: pwrite"
};

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_KILL_POINTS_H_
