// The rules of style that neither clang-format nor clang-tidy knows.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/project/tree.h"

namespace tessera::project {
namespace {

/// The longest a file may get before it must be split: twice the size that a file should have.
size_t line_limit(const SourceFile& file) {
  if (file.in("tests") || file.in("benchmarks")) return 800;
  if (file.extension() == ".h") return 300;
  if (file.extension() == ".cpp") return 600;
  return 700;
}

TEST(Style, FilesStaySmall) {
  std::vector<std::string> findings;
  for (const SourceFile& file : source_files()) {
    if (file.lines.size() <= line_limit(file)) continue;
    findings.push_back(file.path + " has " + std::to_string(file.lines.size()) + " lines, at most " +
                       std::to_string(line_limit(file)));
  }
  EXPECT_TRUE(findings.empty()) << listed(findings);
}

TEST(Style, HeadersSayWhatTheyAreAndGuardThemselves) {
  std::vector<std::string> findings;
  for (const SourceFile& file : source_files()) {
    if (!file.is_header()) continue;
    if (file.lines.empty() || !file.lines.front().starts_with("// ")) {
      findings.push_back(file.path + " does not open with a comment that says what it is");
    }
    const auto code = std::find_if(file.lines.begin(), file.lines.end(),
                                   [](const std::string& line) { return !line.starts_with("//") && !line.empty(); });
    if (code == file.lines.end() || *code != "#pragma once") {
      findings.push_back(file.path + " does not start with #pragma once after its opening comment");
    }
  }
  EXPECT_TRUE(findings.empty()) << listed(findings);
}

TEST(Style, NoFunctionLikeMacros) {
  std::vector<std::string> findings;
  for (const SourceFile& file : source_files()) {
    for (const std::string& line : file.lines) {
      if (!line.starts_with("#define ")) continue;
      const size_t name_end = line.find_first_of(" (", std::string("#define ").size());
      if (name_end != std::string::npos && line[name_end] == '(') findings.push_back(file.path + ": " + line);
    }
  }
  EXPECT_TRUE(findings.empty()) << listed(findings);
}

TEST(Style, NoNotesToSelfAndNoMachinePaths) {
  // Spelled in pieces, so that this file does not find itself.
  const std::vector<std::string> unwanted = {
      "TO"
      "DO",
      "FIX"
      "ME",
      "/ho"
      "me/",
      "/wo"
      "rk/",
      "/ro"
      "ot/"};
  std::vector<std::string> findings;
  for (const SourceFile& file : all_files()) {
    for (const std::string& line : file.lines) {
      const bool found = std::any_of(unwanted.begin(), unwanted.end(),
                                     [&](const std::string& text) { return line.find(text) != std::string::npos; });
      if (found) findings.push_back(file.path + ": " + line);
    }
  }
  EXPECT_TRUE(findings.empty()) << listed(findings);
}

}  // namespace
}  // namespace tessera::project
