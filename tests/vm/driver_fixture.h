// A real cryptvol-csi process, called over its socket, on a kernel with a real dm-crypt.
//
// Runs as root in the VM (tests/vm/run) or natively. Everything is made beneath one directory on a
// disk of the VM's, and unmounted, unmapped and detached again after each test, also after a failed
// one.
#ifndef CRYPTVOL_TESTS_VM_DRIVER_FIXTURE_H_
#define CRYPTVOL_TESTS_VM_DRIVER_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "proto/csi.grpc.pb.h"

namespace grpc {
void PrintTo(const Status& status, std::ostream* out);  // for failed matchers
}

namespace cryptvol::vm {

std::string CodeName(grpc::StatusCode code);

using StringMap = std::map<std::string, std::string>;

// What main() read from the command line, and the scratch directory on the first disk.
struct Setup {
  std::string driver;       // path of cryptvol-csi
  std::string directory;    // "/srv/cryptvol-test"; ext4, several GiB
  bool everything = false;  // walk through all there is, not a sample of it
  int stride = 1;           // die at one in so many kill points
  uint64_t seed = 0;        // of what is random; a new one for each run unless given
  int seconds = 600;        // how long what has no end of its own goes on
};
Setup& TheSetup();

// Whether this, and what it tests, were built with a sanitizer: slower, and larger.
#ifdef CRYPTVOL_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
// From a text, such as a log: what a sanitizer wrote there, and what follows; empty: nothing.
std::string SanitizerReport(const std::string& text);

// Runs a shell command; its output (both streams) and exit status. Keys go in files, not in the
// command. A sanitizer's report in the output fails the test.
struct ShellResult {
  int status = -1;
  std::string output;
};
ShellResult Shell(const std::string& command);
// The output of a command that must succeed, without the last newline.
std::string MustRun(const std::string& command);

void WriteFile(const std::string& path, const std::string& content);
std::string ReadFile(const std::string& path);

// Whether the bytes occur anywhere on a device or in a file; reads all of it.
bool Contains(const std::string& path, const std::string& pattern);
// SHA-256 of all its bytes: "not one byte written" is that this stays the same. Of a device, as the
// disk has them: its page cache does not hear of what a mapping above it writes.
std::string Digest(const std::string& path);

// A command that runs beside the test until it is stopped, or this is destroyed.
class Background {
 public:
  // One program with its arguments and redirections; it may be another's argument, as of `env -C DIR`. Returns
  // when that `program` runs.
  explicit Background(const std::string& command, const std::string& program = "sleep");
  ~Background() { Stop(); }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  void Stop();
  std::string pid() const { return pid_; }

 private:
  std::string pid_;
};

// A script in the place of an installed program, for everybody, until this is destroyed: the driver
// looks for tools at fixed places.
class ReplacedProgram {
 public:
  // In `script`, $REAL is a copy of the program. `directory` gets both.
  ReplacedProgram(const std::string& program, const std::string& script,
                  const std::string& directory);
  ~ReplacedProgram();
  ReplacedProgram(const ReplacedProgram&) = delete;
  ReplacedProgram& operator=(const ReplacedProgram&) = delete;

 private:
  std::string program_;
};

// The whole answer to a GET from this machine, head and body.
std::string HttpGet(int port, const std::string& path);
// A port of the loopback that nobody listens on.
int FreePort();

// A running driver. Killed, if need be, by the destructor.
class Driver {
 public:
  // `flags` come after --endpoint, --node-id, --state-dir and --backend (which `flags` may give
  // again). `environment` entries are NAME=VALUE.
  explicit Driver(const std::string& directory, std::vector<std::string> flags = {},
                  std::vector<std::string> environment = {});
  ~Driver();

  // From the next Start on, the driver runs as if this program were not installed.
  void Hide(const std::string& program) { hidden_.push_back(program); }
  void Start();     // and wait until it answers
  int Terminate();  // SIGTERM; the exit status
  void Kill();      // SIGKILL
  pid_t pid() const { return pid_; }
  std::string log() const;
  const std::string& endpoint() const { return endpoint_; }

  ::csi::v1::Identity::Stub& identity() { return *identity_; }
  ::csi::v1::Controller::Stub& controller() { return *controller_; }
  ::csi::v1::Node::Stub& node() { return *node_; }

 private:
  void Connect();
  void HidePrograms() const;

  std::string directory_;
  std::string endpoint_;
  std::vector<std::string> args_;
  std::vector<std::string> environment_;
  std::vector<std::string> hidden_;
  pid_t pid_ = -1;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<::csi::v1::Identity::Stub> identity_;
  std::unique_ptr<::csi::v1::Controller::Stub> controller_;
  std::unique_ptr<::csi::v1::Node::Stub> node_;
};

// A volume as its user sees it: what goes into every request about it. Change the fields, then
// call.
struct Volume {
  std::string id = "pvc-test";
  StringMap context = {{"encrypted", "true"}};
  StringMap secrets;  // NewVolume: QuickSecret
  std::string filesystem = "ext4";
  bool block = false;
  std::vector<std::string> mount_flags;
  ::csi::v1::VolumeCapability::AccessMode::Mode mode =
      ::csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_WRITER;
  std::string staging;  // NewVolume: <directory>/staging-<id>
  bool publish_read_only = false;
  StringMap publish_secrets;  // none by default, as without nodePublishSecretRef

  ::csi::v1::VolumeCapability capability() const;
};

// A Secret whose keyslot costs nothing: PBKDF2 with 1000 iterations.
StringMap QuickSecret(const std::string& passphrase);

class DriverTest : public ::testing::Test {
 protected:
  DriverTest();
  void SetUp() override;     // an empty directory and a running driver
  void TearDown() override;  // everything undone; mappings of the test's own are named cvtest-*

  // The calls; on failure the status has the driver's code and message.
  grpc::Status Create(const Volume& volume, int64_t bytes = int64_t{128} << 20);
  grpc::Status Delete(const Volume& volume);
  grpc::Status Stage(const Volume& volume);
  grpc::Status Unstage(const Volume& volume);
  grpc::Status Publish(const Volume& volume, const std::string& target);
  grpc::Status Unpublish(const Volume& volume, const std::string& target);

  // A volume with defaults filled in.
  Volume NewVolume(const std::string& id = "pvc-test");
  // One on a device of its own: a static PersistentVolume.
  Volume StaticVolume(const std::string& device, const std::string& id = "static-test");

  // A blank block device of that many bytes (a loop device), detached again after the test.
  std::string NewDevice(int64_t bytes, const std::string& name = "disk");
  // The loop device of a volume of the loop backend, while it is attached; and its image, always.
  std::string DeviceOf(const Volume& volume);
  std::string ImageOf(const Volume& volume) const;
  std::string MappingOf(const Volume& volume) const;  // the name below /dev/mapper
  // Whether the key opens the image, by stock cryptsetup.
  bool Opens(const Volume& volume, const std::string& key);

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string KeyFile(const std::string& key);  // for cryptsetup --key-file

  std::string directory_;
  std::unique_ptr<Driver> driver_;

 private:
  int key_files_ = 0;
};

// EXPECT_CODE(OK, Stage(v)); on a mismatch the message is shown.
#define EXPECT_CODE(expected, call)                                 \
  do {                                                              \
    const ::grpc::Status cv_status = (call);                        \
    EXPECT_EQ(::grpc::StatusCode::expected, cv_status.error_code()) \
        << #call << ": " << cv_status.error_message();              \
  } while (false)
#define ASSERT_CODE(expected, call)                                 \
  do {                                                              \
    const ::grpc::Status cv_status = (call);                        \
    ASSERT_EQ(::grpc::StatusCode::expected, cv_status.error_code()) \
        << #call << ": " << cv_status.error_message();              \
  } while (false)

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_DRIVER_FIXTURE_H_
