// What the README says exists: its C++ is taken from an example, and the files that it names are there.
#include <filesystem>
#include <fstream>
#include <regex>

#include <gtest/gtest.h>

#include "tests/project/tree.h"

namespace tessera::project {
namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(std::filesystem::path(TESSERA_SOURCE_DIR) / path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::string without_indentation(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line.substr(std::min(line.size(), line.find_first_not_of(' '))) + "\n";
  return text;
}

/// The blocks of a page that open with ```LANGUAGE.
std::vector<std::vector<std::string>> blocks(const std::vector<std::string>& page, const std::string& language) {
  std::vector<std::vector<std::string>> found;
  bool inside = false;
  for (const std::string& line : page) {
    if (line == "```" + language) {
      inside = true;
      found.emplace_back();
    } else if (line == "```") {
      inside = false;
    } else if (inside) {
      found.back().push_back(line);
    }
  }
  return found;
}

TEST(Readme, ItsCodeIsThatOfTheExamples) {
  std::string examples;
  for (const SourceFile& file : source_files()) {
    if (file.in("examples")) examples += without_indentation(file.lines);
  }
  const auto code = blocks(lines_of("README.md"), "cpp");
  EXPECT_FALSE(code.empty());
  for (const auto& block : code) {
    const std::string text = without_indentation(block);
    EXPECT_NE(examples.find(text), std::string::npos) << "no example has this:\n" << text;
  }
}

TEST(Readme, TheFilesItNamesExist) {
  const std::regex path("(kernels|framework|modules|trainers|examples|tests|docs|scripts|benchmarks)/[A-Za-z0-9_./]*");
  size_t seen = 0;
  for (const char* page : {"README.md", "CONTRIBUTING.md"}) {
    for (const std::string& line : lines_of(page)) {
      for (std::sregex_iterator match(line.begin(), line.end(), path), end; match != end; ++match) {
        const std::string before = match->prefix().str();
        const std::string name = std::regex_replace(match->str(), std::regex("[.]$"), "");
        const bool made_elsewhere = before.ends_with("/") || before.ends_with("-") || name.find("/foo") != name.npos;
        if (made_elsewhere) continue;
        ++seen;
        EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(TESSERA_SOURCE_DIR) / name)) << page << ": " << name;
      }
    }
  }
  EXPECT_GT(seen, 20U);
}

}  // namespace
}  // namespace tessera::project
