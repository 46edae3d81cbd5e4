#include "csi/maintenance_tools.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "block/backend_factory.h"
#include "block/static_records.h"
#include "keys/volume_secret.h"

namespace cryptvol::driver {

absl::StatusOr<std::unique_ptr<volume::Storage>> OpenStorage(const Options& options) {
  std::vector<std::unique_ptr<block::Backend>> backends;
  for (const std::string& spec : options.backends) {
    CV_ASSIGN_OR_RETURN(auto backend, block::OpenBackend(spec, options.state_dir));
    backends.push_back(std::move(backend));
  }
  CV_ASSIGN_OR_RETURN(auto records, block::StaticRecords::Open(options.state_dir + "/volumes"));
  return std::make_unique<volume::Storage>(
      std::move(backends), std::make_unique<block::StaticRecords>(std::move(records)));
}

absl::StatusOr<std::unique_ptr<Tools>> OpenTools(const Options& options) {
  auto tools = std::make_unique<Tools>();
  CV_ASSIGN_OR_RETURN(tools->storage, OpenStorage(options));
  std::string program = options.worker;
  if (program.empty()) {
    CV_ASSIGN_OR_RETURN(program, worker::FindWorkerProgram());
  }
  CV_ASSIGN_OR_RETURN(const uint64_t memory, ParseSize(options.kdf_memory_budget));
  tools->workers = std::make_unique<worker::ClientFactory>(program);
  CV_ASSIGN_OR_RETURN(auto ledger, volume::KdfLedger::Open(KdfLedgerPath(options)));
  tools->budget =
      std::make_unique<volume::KdfBudget>(memory, volume::ReadFreeMemory, std::move(ledger));
  volume::Environment& environment = tools->environment;
  environment.driver_name = options.driver_name;
  environment.storage = tools->storage.get();
  environment.workers = tools->workers.get();
  environment.tools = &tools->filesystem_tools;
  environment.kdf_budget = tools->budget.get();
  environment.observer = &tools->observer;
  CV_ASSIGN_OR_RETURN(environment.escrow, OpenEscrow(options));
  environment.read_mount_table = [] { return mount::ReadMountTable(); };
  return tools;
}

absl::StatusOr<SecretBytes> ReadKey(const std::string& path) {
  UniqueFd file;
  if (path != "-") {
    CV_ASSIGN_OR_RETURN(file, OpenFile(path, O_RDONLY));
  }
  const int fd = path == "-" ? STDIN_FILENO : file.get();
  CV_ASSIGN_OR_RETURN(SecretBytes buffer, SecretBytes::Allocate(size_t{64} << 10));
  size_t size = 0;
  while (size <= keys::kMaxPassphraseBytes) {
    // Mostly it is short, and locked memory is scarce.
    if (size == buffer.size()) {
      CV_ASSIGN_OR_RETURN(SecretBytes larger, SecretBytes::Allocate(4 * size));
      std::ranges::copy(buffer.span(), larger.data());
      buffer = std::move(larger);
    }
    const ssize_t got = TEMP_FAILURE_RETRY(::read(fd, buffer.data() + size, buffer.size() - size));
    if (got < 0) return ErrnoStatus(errno, "read the key from " + path);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size == 0) return InvalidArgument("read the key from {}: it is empty", path);
  if (size > keys::kMaxPassphraseBytes) {
    return InvalidArgument("read the key from {}: it is longer than {} bytes", path,
                           keys::kMaxPassphraseBytes);
  }
  return SecretBytes::CopyOf(buffer.span().first(size));
}

}  // namespace cryptvol::driver
