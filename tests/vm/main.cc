// The tests that need a real dm-crypt:
//   cryptvol_vm_tests --driver=PATH [--everything] [--stride=NUMBER] [--seed=NUMBER] [--seconds=NUMBER]
//                     [GoogleTest's flags]
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>

#include "driver_fixture.h"

namespace {

// The first disk of the VM becomes the scratch directory: a filesystem that has direct I/O and
// sparse files.
bool PrepareDirectory(const std::string& directory) {
  const char* disks = std::getenv("CRYPTVOL_VM_DISKS");
  if (disks == nullptr || *disks == '\0') {
    std::fputs("vm tests: give the VM a disk: tests/vm/run --disk 8G -- ...\n", stderr);
    return false;
  }
  const std::string all = disks;
  const std::string disk = all.substr(0, all.find(' '));
  std::filesystem::create_directories(directory);
  return cryptvol::vm::Shell("mkfs.ext4 -q -F " + disk + " && mount " + disk + " " + directory)
             .status == 0;
}

}  // namespace

int main(int argc, char** argv) {
  // How often gRPC looks whether a server of an idle channel has gone: one that stops waits for that, and the 5 s that
  // are usual add up.
  ::setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "100", 0);
  ::testing::InitGoogleTest(&argc, argv);
  auto& setup = cryptvol::vm::TheSetup();
  setup.seed = std::random_device()();
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg.starts_with("--driver=")) setup.driver = arg.substr(sizeof("--driver=") - 1);
    if (arg == "--everything") setup.everything = true;
    if (arg.starts_with("--seconds=")) setup.seconds = std::atoi(argv[i] + 10);
    if (arg.starts_with("--stride=")) setup.stride = std::max(1, std::atoi(argv[i] + 9));
    if (arg.starts_with("--seed=")) setup.seed = std::strtoull(argv[i] + 7, nullptr, 10);
  }
  if (setup.driver.empty() || ::geteuid() != 0) {
    std::fputs(
        "usage, as root: cryptvol_vm_tests --driver=PATH [--everything] [--stride=NUMBER] "
        "[--seed=NUMBER] [--seconds=NUMBER]\n",
        stderr);
    return 2;
  }
  setup.directory = "/tmp/cryptvol-vm-tests";
  if (!PrepareDirectory(setup.directory)) return 2;
  const int result = RUN_ALL_TESTS();
  if (::testing::UnitTest::GetInstance()->test_to_run_count() == 0) {
    std::fputs("vm tests: the filter matches no test\n", stderr);
    return 2;
  }
  return result;
}
