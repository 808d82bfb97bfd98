// What a source holds that is not read, for the notices.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace tessera {

/// Files left out, by reason.
class LeftOut {
 public:
  void add(const std::string& reason, const std::filesystem::path& path) {
    names_[reason].insert(path.filename().string());
  }
  /// One sentence per reason, with the number of files and the first names in order.
  std::vector<std::string> sentences(const std::string& source) const;

 private:
  std::map<std::string, std::set<std::string>> names_;
};

}  // namespace tessera
