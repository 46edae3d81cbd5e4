// What other drivers, and people at a shell, do to a volume: with stock cryptsetup and mount.
#ifndef CRYPTVOL_TESTS_VM_STOCK_TOOLS_H_
#define CRYPTVOL_TESTS_VM_STOCK_TOOLS_H_

#include <string>

namespace cryptvol::vm {

// A LUKS device, or an image of one, opened with `cryptsetup open`; closed by the destructor.
class StockMapping {
 public:
  // `flags` as for `cryptsetup open`.
  StockMapping(const std::string& device, const std::string& key_file,
               const std::string& flags = "");
  ~StockMapping();
  StockMapping(const StockMapping&) = delete;
  StockMapping& operator=(const StockMapping&) = delete;

  std::string path() const { return "/dev/mapper/by-hand"; }
};

// A filesystem mounted with mount(8); unmounted by the destructor.
class StockMount {
 public:
  StockMount(const std::string& source, const std::string& target,
             const std::string& options = "rw");
  ~StockMount();
  StockMount(const StockMount&) = delete;
  StockMount& operator=(const StockMount&) = delete;

 private:
  std::string target_;
};

// `cryptsetup luksDump` with each run of blanks as one.
std::string LuksDump(const std::string& device);

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_STOCK_TOOLS_H_
