// The source files of this tree, for the tests that read them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace tessera::project {

/// One text file: its path from the root, and its lines.
struct SourceFile {
  std::string path;
  std::vector<std::string> lines;

  std::string extension() const { return std::filesystem::path(path).extension().string(); }
  bool is_header() const { return extension() == ".h" || extension() == ".cuh"; }
  bool in(const std::string& folder) const { return path.starts_with(folder + "/"); }
};

/// The text files of the tree in path order, build folders and hidden folders left out.
inline std::vector<SourceFile> all_files() {
  namespace fs = std::filesystem;
  const fs::path root = TESSERA_SOURCE_DIR;
  std::vector<SourceFile> files;
  const auto read = [&](const fs::path& path) {
    if (path.extension() == ".png" || path.extension() == ".bin" || path.extension() == ".safetensors") return;
    SourceFile file{.path = fs::relative(path, root).string(), .lines = {}};
    std::ifstream stream(path);
    for (std::string line; std::getline(stream, line);) file.lines.push_back(line);
    files.push_back(std::move(file));
  };
  for (const auto& entry : fs::directory_iterator(root)) {
    if (entry.is_regular_file() && !entry.path().filename().string().starts_with(".")) read(entry.path());
  }
  for (const char* folder :
       {"kernels", "framework", "modules", "trainers", "examples", "tests", "benchmarks", "cmake", "docs", "scripts"}) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.is_regular_file()) read(entry.path());
    }
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

/// Its C++ and CUDA sources.
inline std::vector<SourceFile> source_files() {
  std::vector<SourceFile> files = all_files();
  std::erase_if(files, [](const SourceFile& file) {
    const std::string extension = file.extension();
    return extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh";
  });
  return files;
}

/// The path of an `#include "…"` line, or an empty text.
inline std::string included_path(const std::string& line) {
  const std::string opening = "#include \"";
  if (!line.starts_with(opening)) return {};
  return line.substr(opening.size(), line.find('"', opening.size()) - opening.size());
}

/// One finding per line, for a test's message.
inline std::string listed(const std::vector<std::string>& findings) {
  std::ostringstream text;
  for (const std::string& finding : findings) text << "  " << finding << "\n";
  return text.str();
}

}  // namespace tessera::project
