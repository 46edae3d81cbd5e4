#include "mount/mount_table.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::mount {
namespace {

// A node with thousands of pods has some megabytes of mounts.
constexpr size_t kMaxTableBytes = size_t{64} << 20;

// Cuts what comes before the next `separator` off the front of `text`.
std::string_view Next(std::string_view& text, char separator) {
  const size_t end = text.find(separator);
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return part;
}

template <typename T>
bool ParseNumber(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// The kernel writes space, tab, newline and backslash as three octal digits.
std::string Unescape(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) &&
        IsOctal(text[i + 3])) {
      const int code = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
      result += static_cast<char>(code);
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

bool HasOption(std::string_view options, std::string_view wanted) {
  while (!options.empty()) {
    if (Next(options, ',') == wanted) return true;
  }
  return false;
}

// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue", with any number
// of fields before the lone dash.
bool ParseLine(std::string_view line, MountEntry& entry) {
  if (!ParseNumber(Next(line, ' '), entry.id) || !ParseNumber(Next(line, ' '), entry.parent) ||
      !ParseNumber(Next(line, ':'), entry.device.major) ||
      !ParseNumber(Next(line, ' '), entry.device.minor)) {
    return false;
  }
  entry.root = Unescape(Next(line, ' '));
  entry.target = Unescape(Next(line, ' '));
  entry.options = Unescape(Next(line, ' '));
  while (!line.empty() && Next(line, ' ') != "-") {
  }
  entry.type = Unescape(Next(line, ' '));
  entry.source = Unescape(Next(line, ' '));
  entry.super_options = Unescape(line);
  return !entry.root.empty() && entry.target.starts_with('/') && !entry.type.empty() &&
         !entry.super_options.empty();
}

std::string Normalized(const std::string& path) {
  std::string normal = std::filesystem::path(path).lexically_normal().string();
  if (normal.size() > 1 && normal.ends_with('/')) normal.pop_back();
  return normal;
}

}  // namespace

bool MountEntry::read_only() const {
  return HasOption(options, "ro") || HasOption(super_options, "ro");
}

absl::StatusOr<std::vector<MountEntry>> ParseMountInfo(std::string_view text) {
  std::vector<MountEntry> table;
  while (!text.empty()) {
    const std::string_view line = Next(text, '\n');
    if (!ParseLine(line, table.emplace_back())) {
      return InvalidArgument(
          "read the mount table: this line is not as the kernel writes it: \"{}\"",
          line.substr(0, 200));
    }
  }
  return table;
}

absl::StatusOr<std::vector<MountEntry>> ReadMountTable(const std::string& path) {
  CV_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxTableBytes));
  return ParseMountInfo(text);
}

const MountEntry* FindMount(const std::vector<MountEntry>& table, const std::string& target) {
  const std::string wanted = Normalized(target);
  std::vector<const MountEntry*> stack;
  for (const MountEntry& entry : table) {
    if (entry.target == wanted) stack.push_back(&entry);
  }
  // Of several mounts on one another, the topmost is nobody's parent; after a move, it need not be
  // the last in the table.
  auto is_topmost = [&](const MountEntry* entry) {
    return std::none_of(stack.begin(), stack.end(), [&](const MountEntry* other) {
      return other != entry && other->parent == entry->id;
    });
  };
  auto topmost = std::find_if(stack.rbegin(), stack.rend(), is_topmost);
  return topmost == stack.rend() ? nullptr : *topmost;
}

std::vector<MountEntry> OtherMountsOf(const std::vector<MountEntry>& table,
                                      const MountEntry& entry) {
  std::vector<MountEntry> others;
  for (const MountEntry& other : table) {
    if (other.id != entry.id && other.device == entry.device && other.root == entry.root &&
        other.type == entry.type) {
      others.push_back(other);
    }
  }
  return others;
}

}  // namespace cryptvol::mount
