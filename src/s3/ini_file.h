// The format of ~/.aws/credentials and ~/.aws/config.
#ifndef CRYPTVOL_S3_INI_FILE_H_
#define CRYPTVOL_S3_INI_FILE_H_

#include <map>
#include <string>
#include <string_view>

namespace cryptvol::s3 {

using IniSection = std::map<std::string, std::string>;  // names in lower case
using IniFile = std::map<std::string, IniSection>;      // by the section's whole title

// Lines `name = value` under `[title]`; comments begin with '#' or ';', at the start of a line or
// after a space. Indented lines are settings of a setting (as of "s3 ="), and are left out, as is
// what is no such line: other programs own these files.
IniFile ParseIni(std::string_view text);

// Overwrites all values.
void WipeSection(IniSection& section);

// The value, or nothing.
std::string ValueOf(const IniSection& section, const std::string& name);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_INI_FILE_H_
