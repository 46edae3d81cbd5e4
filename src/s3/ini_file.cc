#include "s3/ini_file.h"

#include <algorithm>

#include "base/secret_bytes.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

std::string_view WithoutComment(std::string_view line) {
  const size_t comment =
      std::min({line.find(" #"), line.find(" ;"), line.find("\t#"), line.find("\t;")});
  return Trim(line.substr(0, comment));
}

// "profile  dev" and "profile dev" are the same title.
std::string Title(std::string_view line) {
  std::string title;
  for (const char c : Trim(line.substr(1, line.find(']') - 1))) {
    const char plain = c == '\t' ? ' ' : c;
    if (plain != ' ' || !title.ends_with(' ')) title += plain;
  }
  return title;
}

bool IsSkipped(std::string_view line) {
  return Trim(line).empty() || line.starts_with(' ') || line.starts_with('\t') ||
         line.starts_with('#') || line.starts_with(';');
}

}  // namespace

IniFile ParseIni(std::string_view text) {
  IniFile file;
  IniSection* section = nullptr;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (IsSkipped(line)) continue;
    if (line.starts_with('[')) {
      section = line.find(']') != std::string_view::npos ? &file[Title(line)] : nullptr;
      continue;
    }
    const size_t equals = line.find('=');
    if (section == nullptr || equals == std::string_view::npos) continue;
    (*section)[Lowercase(Trim(line.substr(0, equals)))] =
        std::string(WithoutComment(line.substr(equals + 1)));
  }
  return file;
}

void WipeSection(IniSection& section) {
  for (auto& [name, value] : section) WipeString(value);
}

std::string ValueOf(const IniSection& section, const std::string& name) {
  const auto it = section.find(name);
  return it != section.end() ? it->second : "";
}

}  // namespace cryptvol::s3
