// Includes point down: examples → trainers → modules → framework → kernels. They may skip layers, except that trainers
// and examples include nothing from kernels; nothing includes tests.
#include <array>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "tests/project/tree.h"

namespace tessera::project {
namespace {

const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"kernels", {"kernels"}},
    {"framework", {"framework", "kernels"}},
    {"modules", {"modules", "framework", "kernels"}},
    {"trainers", {"trainers", "modules", "framework"}},
    {"examples", {"examples", "trainers", "modules", "framework", "tessera.h"}},
    {"tessera.h", {"trainers", "modules", "framework"}},
    {"benchmarks", {"benchmarks", "trainers", "modules", "framework", "kernels", "tessera.h"}},
    {"tests", {"tests", "trainers", "modules", "framework", "kernels", "tessera.h"}},
};

std::string top(const std::string& path) { return path.substr(0, path.find('/')); }

TEST(Layering, IncludesPointDown) {
  std::vector<std::string> findings;
  for (const SourceFile& file : source_files()) {
    const std::set<std::string>& allowed = kMayInclude.at(top(file.path));
    for (const std::string& line : file.lines) {
      const std::string target = included_path(line);
      if (!target.empty() && !allowed.contains(top(target))) findings.push_back(file.path + " includes " + target);
    }
  }
  EXPECT_TRUE(findings.empty()) << listed(findings);
}

TEST(Layering, IncludesNameFilesFromTheRoot) {
  std::vector<std::string> findings;
  for (const SourceFile& file : source_files()) {
    for (const std::string& line : file.lines) {
      const std::string target = included_path(line);
      if (!target.empty() && !std::filesystem::exists(std::filesystem::path(TESSERA_SOURCE_DIR) / target)) {
        findings.push_back(file.path + " includes " + target);
      }
    }
  }
  EXPECT_TRUE(findings.empty()) << listed(findings);
}

TEST(Layering, TheUmbrellaIncludesEveryPublicHeader) {
  std::set<std::string> included;
  std::set<std::string> expected;
  for (const SourceFile& file : source_files()) {
    if (file.path == "tessera.h") {
      for (const std::string& line : file.lines) included.insert(included_path(line));
      included.erase("");
    } else if (file.is_header() && (file.in("framework") || file.in("modules") || file.in("trainers"))) {
      expected.insert(file.path);
    }
  }
  EXPECT_EQ(included, expected) << "run scripts/format";
}

}  // namespace
}  // namespace tessera::project
