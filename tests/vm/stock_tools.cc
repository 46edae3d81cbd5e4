#include "stock_tools.h"

#include "driver_fixture.h"

namespace cryptvol::vm {

StockMapping::StockMapping(const std::string& device, const std::string& key_file,
                           const std::string& flags) {
  MustRun("cryptsetup open --type luks --key-file " + key_file + " " + flags + " " + device +
          " by-hand");
}

StockMapping::~StockMapping() { MustRun("cryptsetup close by-hand"); }

StockMount::StockMount(const std::string& source, const std::string& target,
                       const std::string& options)
    : target_(target) {
  MustRun("mkdir -p " + target + " && mount -o " + options + " " + source + " " + target);
}

StockMount::~StockMount() { MustRun("umount " + target_); }

std::string LuksDump(const std::string& device) {
  return MustRun("cryptsetup luksDump " + device + " | tr -s ' \\t' ' '");
}

}  // namespace cryptvol::vm
