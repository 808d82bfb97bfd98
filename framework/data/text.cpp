#include "framework/data/text.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <glob.h>

#include "framework/data/left_out.h"
#include "framework/data/utf8.h"
#include "framework/io/file.h"
#include "kernels/common/error.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

// What `data` may name.
constexpr const char* kSources = "name a text file, a glob, a folder or a token file";

bool is_pattern(const std::string& source) { return source.find_first_of("*?[") != source.npos; }

std::vector<fs::path> matches_of(const std::string& pattern) {
  glob_t found{};
  const int result = glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<fs::path> paths(found.gl_pathv, found.gl_pathv + (result == 0 ? found.gl_pathc : 0));
  globfree(&found);
  expect(result == 0 || result == GLOB_NOMATCH, "{}: its folders cannot be read; {}", pattern, kSources);
  expect(!paths.empty(), "{}: no file matches; {}", pattern, kSources);
  return paths;
}

FileList list_matches(const std::string& pattern) {
  std::vector<fs::path> paths = matches_of(pattern);
  // A file comes before the links that repeat it, so that the link is what is left out.
  std::sort(paths.begin(), paths.end(), [](const fs::path& a, const fs::path& b) {
    const bool link_a = fs::is_symlink(a), link_b = fs::is_symlink(b);
    return link_a != link_b ? link_b : a.native() < b.native();
  });
  FileList list;
  LeftOut left_out;
  std::set<fs::path> seen;
  for (const fs::path& path : paths) {
    std::error_code missing;
    if (fs::is_directory(path, missing)) continue;
    if (!fs::is_regular_file(path, missing)) left_out.add("that are no regular files", path);
    else if (!seen.insert(fs::canonical(path)).second) left_out.add("that repeat another file", path);
    else list.paths.push_back(path);
  }
  std::sort(list.paths.begin(), list.paths.end());
  list.notices = left_out.sentences(pattern);
  return list;
}

FileList list_folder(const fs::path& folder) {
  FileList list;
  LeftOut left_out;
  std::error_code cause;
  for (fs::directory_iterator entry(folder, cause), end; !cause && entry != end; entry.increment(cause)) {
    std::error_code unreadable;
    if (entry->path().filename().native().starts_with('.')) left_out.add("hidden", entry->path());
    else if (entry->is_symlink(unreadable)) left_out.add("links", entry->path());
    else if (entry->is_directory(unreadable)) left_out.add("folders", entry->path());
    else if (!entry->is_regular_file(unreadable)) left_out.add("that are no regular files", entry->path());
    else list.paths.push_back(entry->path());
  }
  expect(!cause, "{}: the folder cannot be read: {}", folder.string(), cause_and_cure(cause.value()));
  std::sort(list.paths.begin(), list.paths.end());
  list.notices = left_out.sentences(folder.string());
  return list;
}

/// Offset of the first byte that text does not have.
size_t find_binary(std::string_view content) { return std::min(content.find('\0'), find_malformed(content)); }

}  // namespace

FileList list_files(const std::string& source) {
  expect(!source.empty(), "data: no source is given; {}", kSources);
  std::error_code cause;
  const fs::file_status status = fs::status(source, cause);
  FileList list;
  if (fs::is_directory(status)) list = list_folder(source);
  else if (!fs::exists(status) && is_pattern(source)) list = list_matches(source);
  else return {.paths = {source}, .notices = {}};
  expect(!list.paths.empty(), "{}: there are no files to read here{}; {}", source,
         list.notices.empty() ? "" : fmt::format(" ({})", fmt::join(list.notices, "; ")), kSources);
  return list;
}

std::string_view without_mark(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  return text.starts_with(kMark) ? text.substr(kMark.size()) : text;
}

std::vector<std::string_view> Text::parts() const {
  std::vector<std::string_view> result;
  for (const MappedFile& file : files) result.push_back(without_mark(file.text()));
  return result;
}

Text read_text(const std::string& source, TextRule rule) {
  const FileList list = list_files(source);
  const bool named = list.paths.size() == 1 && list.paths[0] == source;
  Text text{.files = {}, .notices = list.notices};
  LeftOut left_out;
  bool any = false;
  for (const fs::path& path : list.paths) {
    MappedFile file = MappedFile::open(path);
    const size_t bad = named && rule == TextRule::any_bytes ? file.text().npos : find_binary(file.text());
    if (bad != file.text().npos) {
      const std::string byte = fmt::format("{:#04x}", static_cast<uint8_t>(file.text()[bad]));
      expect(!named, "{}: is not UTF-8 text (byte {} at offset {}); convert it with iconv, or set tokenizer = byte",
             path.string(), byte, bad);
      left_out.add("that are not UTF-8 text", path);
      continue;
    }
    const std::string_view content = rule == TextRule::utf8 ? without_mark(file.text()) : file.text();
    if (content.size() < file.text().size()) left_out.add("byte order marks, at the start of", path);
    any |= !content.empty();
    text.files.push_back(std::move(file));
  }
  std::ranges::copy(left_out.sentences(source), std::back_inserter(text.notices));
  expect(any, "{}: holds no text; {}", source, kSources);
  return text;
}

}  // namespace tessera
