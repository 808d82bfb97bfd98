#include "framework/data/left_out.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tessera {

std::vector<std::string> LeftOut::sentences(const std::string& source) const {
  constexpr size_t kShown = 6;
  std::vector<std::string> result;
  for (const auto& [reason, names] : names_) {
    const std::vector<std::string> shown(
        names.begin(), std::next(names.begin(), static_cast<std::ptrdiff_t>(std::min(names.size(), kShown))));
    const auto more = names.size() > kShown ? fmt::format(" and {} more", names.size() - kShown) : std::string();
    result.push_back(
        fmt::format("{}: left out {} {}: {}{}", source, names.size(), reason, fmt::join(shown, ", "), more));
  }
  return result;
}

}  // namespace tessera
