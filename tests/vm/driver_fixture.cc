#include "driver_fixture.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/c_handle.h"
#include "base/unique_fd.h"
#include "fmt/format.h"
#include "volume/environment.h"

namespace grpc {
void PrintTo(const Status& status, std::ostream* out) {
  *out << cryptvol::vm::CodeName(status.error_code()) << ": " << status.error_message();
}
}  // namespace grpc

namespace cryptvol::vm {
namespace fs = std::filesystem;
namespace {

constexpr char kDriverName[] = "csi.cryptvol.io";

grpc::ClientContext& WithDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(10));
  return context;
}

template <typename Request>
void FillSecrets(const Volume& volume, Request& request) {
  request.mutable_secrets()->insert(volume.secrets.begin(), volume.secrets.end());
}

}  // namespace

std::string CodeName(grpc::StatusCode code) {
  static const std::map<grpc::StatusCode, std::string> names = {
      {grpc::StatusCode::OK, "OK"},
      {grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT"},
      {grpc::StatusCode::NOT_FOUND, "NOT_FOUND"},
      {grpc::StatusCode::ALREADY_EXISTS, "ALREADY_EXISTS"},
      {grpc::StatusCode::FAILED_PRECONDITION, "FAILED_PRECONDITION"},
      {grpc::StatusCode::ABORTED, "ABORTED"},
      {grpc::StatusCode::DATA_LOSS, "DATA_LOSS"},
      {grpc::StatusCode::UNAUTHENTICATED, "UNAUTHENTICATED"},
  };
  const auto name = names.find(code);
  return name != names.end() ? name->second : "code " + std::to_string(code);
}

Setup& TheSetup() {
  static Setup& setup = *new Setup();
  return setup;
}

ShellResult Shell(const std::string& command) {
  ShellResult result;
  FILE* pipe = ::popen(("exec 2>&1; " + command).c_str(), "re");
  if (pipe == nullptr) return result;
  std::array<char, 4096> buffer;
  for (size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    result.output.append(buffer.data(), n);
  }
  const int status = ::pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  EXPECT_EQ("", SanitizerReport(result.output)) << command;
  return result;
}

std::string SanitizerReport(const std::string& text) {
  size_t at = std::string::npos;
  for (const char* sign : {"Sanitizer", ": runtime error: "}) at = std::min(at, text.find(sign));
  if (at == std::string::npos) return "";
  const size_t line = text.rfind('\n', at);
  return text.substr(line == std::string::npos ? 0 : line + 1);
}

std::string MustRun(const std::string& command) {
  ShellResult result = Shell(command);
  EXPECT_EQ(0, result.status) << command << "\n" << result.output;
  while (!result.output.empty() && result.output.back() == '\n') result.output.pop_back();
  return result.output;
}

void WriteFile(const std::string& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << content;
  ASSERT_TRUE(out.flush()) << path;
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream content;
  content << in.rdbuf();
  return content.str();
}

bool Contains(const std::string& path, const std::string& pattern) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.is_open()) << path;
  std::vector<char> buffer(4 << 20);
  size_t kept = 0;  // the end of the last block, in which a match may begin
  while (in) {
    in.read(buffer.data() + kept, static_cast<std::streamsize>(buffer.size() - kept));
    const size_t filled = kept + static_cast<size_t>(in.gcount());
    if (::memmem(buffer.data(), filled, pattern.data(), pattern.size()) != nullptr) return true;
    kept = std::min(filled, pattern.size() - 1);
    std::memmove(buffer.data(), buffer.data() + filled - kept, kept);
  }
  return false;
}

std::string Digest(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const off_t size = ::lseek(fd.get(), 0, SEEK_END);
  EXPECT_GE(size, 0) << path;
  const bool is_device = fs::is_block_file(path);
  EXPECT_TRUE(!is_device || ::ioctl(fd.get(), BLKFLSBUF, 0) == 0) << path;
  const Handle<EVP_MD_CTX, EVP_MD_CTX_free> digest(EVP_MD_CTX_new());
  EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr);
  // Blocks of zeros count by not being there: hashing them is most of the time on an emulated
  // machine.
  constexpr size_t kBlock = 4096;
  const std::vector<char> zeros(kBlock);
  std::vector<char> buffer(256 * kBlock);
  for (off_t at = 0; at < size; at += static_cast<off_t>(buffer.size())) {
    const off_t data = is_device ? at : ::lseek(fd.get(), at, SEEK_DATA);
    if (data < 0) break;  // a hole up to the end
    at = data - data % static_cast<off_t>(kBlock);
    const ssize_t n = ::pread(fd.get(), buffer.data(), buffer.size(), at);
    EXPECT_EQ(static_cast<ssize_t>(std::min<off_t>(size - at, static_cast<off_t>(buffer.size()))),
              n)
        << path;
    for (ssize_t i = 0; i < n; i += kBlock) {
      const size_t bytes = std::min<size_t>(kBlock, static_cast<size_t>(n - i));
      if (std::memcmp(buffer.data() + i, zeros.data(), bytes) == 0) continue;
      const off_t position = at + i;
      EVP_DigestUpdate(digest.get(), &position, sizeof(position));
      EVP_DigestUpdate(digest.get(), buffer.data() + i, bytes);
    }
  }
  std::array<unsigned char, SHA256_DIGEST_LENGTH> bytes;
  EVP_DigestFinal_ex(digest.get(), bytes.data(), nullptr);
  std::string text;
  for (unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

Background::Background(const std::string& command, const std::string& program)
    : pid_(MustRun("exec " + command + " > /dev/null 2>&1 & echo $!")) {
  for (int i = 0; i < 600 && ReadFile("/proc/" + pid_ + "/comm") != program + "\n"; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(program + "\n", ReadFile("/proc/" + pid_ + "/comm")) << command;
}

void Background::Stop() {
  if (pid_.empty()) return;
  Shell("kill -KILL " + pid_);
  const std::string stat = "/proc/" + pid_ + "/stat";
  for (int i = 0; i < 100; ++i) {
    const std::string state = ReadFile(stat);
    if (state.empty() || state.find(") Z ") != std::string::npos) break;  // what it held is free
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  pid_.clear();
}

ReplacedProgram::ReplacedProgram(const std::string& program, const std::string& script,
                                 const std::string& directory)
    : program_(fs::canonical(program)) {
  fs::create_directories(directory);
  const std::string name = fs::path(program).filename();
  const std::string real = directory + "/" + name;  // mkfs.ext4 and its like look at their name
  const std::string wrapper = real + ".sh";
  fs::copy_file(program_, real, fs::copy_options::overwrite_existing);
  WriteFile(wrapper, fmt::format("#!/bin/sh\nREAL={}\n{}\n", real, script));
  fs::permissions(wrapper, fs::perms::owner_all);
  MustRun("mount --bind " + wrapper + " " + program_);
}

ReplacedProgram::~ReplacedProgram() { Shell("umount " + program_); }

int FreePort() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(0, ::bind(fd.get(), generic, size));
  EXPECT_EQ(0, ::getsockname(fd.get(), generic, &size));
  return ntohs(address.sin_port);
}

std::string HttpGet(int port, const std::string& path) {
  return MustRun(
      fmt::format("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{}; "
                  "printf \"GET {} HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3'",
                  port, path));
}

Driver::Driver(const std::string& directory, std::vector<std::string> flags,
               std::vector<std::string> environment)
    : directory_(directory),
      endpoint_("unix://" + directory + "/csi.sock"),
      environment_(std::move(environment)) {
  args_ = {TheSetup().driver, "--endpoint=" + endpoint_, "--node-id=node-1",
           "--state-dir=" + directory + "/state", "--log-level=debug"};
  const bool has_backend = std::ranges::any_of(
      flags, [](const std::string& flag) { return flag.starts_with("--backend"); });
  if (!has_backend) args_.push_back("--backend=loop:" + directory + "/backend");
  args_.insert(args_.end(), flags.begin(), flags.end());
}

Driver::~Driver() { Kill(); }

void Driver::Start() {
  const std::string log = directory_ + "/driver.log";
  pid_ = ::fork();
  ASSERT_GE(pid_, 0);
  if (pid_ == 0) {
    const int fd = ::open(log.c_str(), O_CREAT | O_APPEND | O_WRONLY, 0600);
    ::dup2(fd, STDERR_FILENO);
    ::dup2(fd, STDOUT_FILENO);
    HidePrograms();
    for (std::string& variable : environment_) ::putenv(variable.data());
    std::vector<char*> argv;
    for (std::string& arg : args_) argv.push_back(arg.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  Connect();
}

// In the new process. Its mounts are its own from then on.
void Driver::HidePrograms() const {
  if (hidden_.empty()) return;
  bool hidden =
      ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  for (const std::string& program : hidden_) {
    hidden = hidden && ::mount("/dev/null", program.c_str(), nullptr, MS_BIND, nullptr) == 0;
  }
  if (!hidden) ::_exit(126);
}

void Driver::Connect() {
  // A driver needs a moment to listen, and some tests start hundreds.
  grpc::ChannelArguments quick;
  quick.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  quick.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  quick.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
  quick.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  channel_ = grpc::CreateCustomChannel(endpoint_, grpc::InsecureChannelCredentials(), quick);
  identity_ = ::csi::v1::Identity::NewStub(channel_);
  controller_ = ::csi::v1::Controller::NewStub(channel_);
  node_ = ::csi::v1::Node::NewStub(channel_);
  ASSERT_TRUE(
      channel_->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(60)))
      << "the driver does not answer:\n"
      << log();
}

int Driver::Terminate() {
  if (pid_ <= 0) return -1;
  ::kill(pid_, SIGTERM);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void Driver::Kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::string Driver::log() const { return ReadFile(directory_ + "/driver.log"); }

::csi::v1::VolumeCapability Volume::capability() const {
  ::csi::v1::VolumeCapability capability;
  if (block) {
    capability.mutable_block();
  } else {
    capability.mutable_mount()->set_fs_type(filesystem);
    for (const std::string& flag : mount_flags) capability.mutable_mount()->add_mount_flags(flag);
  }
  capability.mutable_access_mode()->set_mode(mode);
  return capability;
}

StringMap QuickSecret(const std::string& passphrase) {
  return {{"CRYPTO_KEY_VALUE", passphrase},
          {"CRYPTO_PBKDF", "pbkdf2"},
          {"CRYPTO_PBKDF_FORCE_ITERATIONS", "1000"}};
}

DriverTest::DriverTest() {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string(info->test_suite_name()) + "." + info->name();
  std::ranges::replace(name, '/', '-');
  directory_ = TheSetup().directory + "/" + name;
}

void DriverTest::SetUp() {
  fs::remove_all(directory_);
  fs::create_directories(directory_);
  driver_ = std::make_unique<Driver>(directory_);
  driver_->Start();
}

void DriverTest::TearDown() {
  // Leaks are looked for at the end of a process that is not killed.
  if (kSanitized && driver_->pid() > 0) {
    EXPECT_EQ(0, driver_->Terminate());
  }
  // Workers have the driver's standard error.
  EXPECT_TRUE(SanitizerReport(driver_->log()).empty()) << "a sanitizer's report is in the log";
  if (HasFailure()) {
    std::fprintf(stderr, "driver's log:\n%s\n", driver_->log().c_str());
    std::fprintf(stderr, "kernel's log:\n%s\n", Shell("dmesg | tail -n 60").output.c_str());
  }
  driver_.reset();
  // The deepest mounts first; then what they stood on.
  if (ReadFile("/proc/self/mountinfo").find(directory_) != std::string::npos) {
    Shell("grep -F " + directory_ +
          " /proc/self/mountinfo | cut -d' ' -f5 | sort -r | xargs -r -n1 umount");
  }
  Shell(
      "dmsetup ls --target crypt 2>/dev/null | cut -f1 | grep -v 'No devices' | xargs -r -n1 "
      "dmsetup remove");
  Shell(
      "dmsetup ls 2>/dev/null | cut -f1 | grep -e ^cryptvol- -e ^cvtest- | xargs -r -n1 dmsetup "
      "remove --retry --force");
  Shell("losetup --list --noheadings --output NAME,BACK-FILE | grep -F -e " + directory_ +
        "/ -e /dev/mapper/ | cut -d' ' -f1 | xargs -r -n1 losetup -d");
  if (!HasFailure()) fs::remove_all(directory_);
}

Volume DriverTest::NewVolume(const std::string& id) {
  Volume volume;
  volume.id = id;
  volume.secrets = QuickSecret("a passphrase of " + id);
  volume.staging = path("staging-" + id);
  return volume;
}

Volume DriverTest::StaticVolume(const std::string& device, const std::string& id) {
  Volume volume = NewVolume(id);
  volume.context["device"] = device;
  return volume;
}

std::string DriverTest::NewDevice(int64_t bytes, const std::string& name) {
  const std::string file = path(name + ".img");
  std::ofstream(file, std::ios::binary).close();
  fs::resize_file(file, static_cast<uintmax_t>(bytes));
  return MustRun("losetup --find --show " + file);
}

std::string DriverTest::ImageOf(const Volume& volume) const {
  return directory_ + "/backend/volumes/" + volume.id + ".img";
}

std::string DriverTest::DeviceOf(const Volume& volume) {
  return MustRun("losetup --noheadings --output NAME --associated " + ImageOf(volume));
}

std::string DriverTest::MappingOf(const Volume& volume) const {
  return volume::MappingName(kDriverName, volume.id);
}

bool DriverTest::Opens(const Volume& volume, const std::string& key) {
  return Shell("cryptsetup open --test-passphrase --key-file " + KeyFile(key) + " " +
               ImageOf(volume))
             .status == 0;
}

std::string DriverTest::KeyFile(const std::string& key) {
  const std::string file = path(fmt::format("key-{}", ++key_files_));
  WriteFile(file, key);
  return file;
}

grpc::Status DriverTest::Create(const Volume& volume, int64_t bytes) {
  ::csi::v1::CreateVolumeRequest request;
  request.set_name(volume.id);
  request.mutable_capacity_range()->set_required_bytes(bytes);
  *request.add_volume_capabilities() = volume.capability();
  request.mutable_parameters()->insert(volume.context.begin(), volume.context.end());
  FillSecrets(volume, request);
  ::csi::v1::CreateVolumeResponse response;
  grpc::ClientContext context;
  return driver_->controller().CreateVolume(&WithDeadline(context), request, &response);
}

grpc::Status DriverTest::Delete(const Volume& volume) {
  ::csi::v1::DeleteVolumeRequest request;
  request.set_volume_id(volume.id);
  ::csi::v1::DeleteVolumeResponse response;
  grpc::ClientContext context;
  return driver_->controller().DeleteVolume(&WithDeadline(context), request, &response);
}

grpc::Status DriverTest::Stage(const Volume& volume) {
  ::csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(volume.staging);
  *request.mutable_volume_capability() = volume.capability();
  request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
  FillSecrets(volume, request);
  ::csi::v1::NodeStageVolumeResponse response;
  grpc::ClientContext context;
  return driver_->node().NodeStageVolume(&WithDeadline(context), request, &response);
}

grpc::Status DriverTest::Unstage(const Volume& volume) {
  ::csi::v1::NodeUnstageVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(volume.staging);
  ::csi::v1::NodeUnstageVolumeResponse response;
  grpc::ClientContext context;
  return driver_->node().NodeUnstageVolume(&WithDeadline(context), request, &response);
}

grpc::Status DriverTest::Publish(const Volume& volume, const std::string& target) {
  ::csi::v1::NodePublishVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_staging_target_path(volume.staging);
  request.set_target_path(target);
  request.set_readonly(volume.publish_read_only);
  *request.mutable_volume_capability() = volume.capability();
  request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
  request.mutable_secrets()->insert(volume.publish_secrets.begin(), volume.publish_secrets.end());
  ::csi::v1::NodePublishVolumeResponse response;
  grpc::ClientContext context;
  return driver_->node().NodePublishVolume(&WithDeadline(context), request, &response);
}

grpc::Status DriverTest::Unpublish(const Volume& volume, const std::string& target) {
  ::csi::v1::NodeUnpublishVolumeRequest request;
  request.set_volume_id(volume.id);
  request.set_target_path(target);
  ::csi::v1::NodeUnpublishVolumeResponse response;
  grpc::ClientContext context;
  return driver_->node().NodeUnpublishVolume(&WithDeadline(context), request, &response);
}

}  // namespace cryptvol::vm
