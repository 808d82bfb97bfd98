// Few trials that put every level of every option beside every level of every other.
#pragma once

#include <array>
#include <cstddef>
#include <random>
#include <set>
#include <vector>

namespace tessera {

/// One level for each option.
template <size_t kOptions>
using Trial = std::array<int, kOptions>;

/// Trials in which every pair of levels of every two options occurs: at each step the best of some random trials.
template <size_t kOptions>
std::vector<Trial<kOptions>> covering_array(const std::array<int, kOptions>& levels) {
  using Pair = std::array<int, 4>;
  constexpr int kCount = static_cast<int>(kOptions);
  std::set<Pair> missing;
  for (int a = 0; a < kCount; ++a) {
    for (int b = a + 1; b < kCount; ++b) {
      for (int i = 0; i < levels[a]; ++i) {
        for (int j = 0; j < levels[b]; ++j) missing.insert({a, i, b, j});
      }
    }
  }
  const auto pairs = [](const Trial<kOptions>& trial) {
    std::vector<Pair> pairs;
    for (int a = 0; a < kCount; ++a) {
      for (int b = a + 1; b < kCount; ++b) pairs.push_back({a, trial[a], b, trial[b]});
    }
    return pairs;
  };
  std::mt19937 engine(1);
  std::vector<Trial<kOptions>> trials;
  while (!missing.empty()) {
    Trial<kOptions> best{};
    size_t most = 0;
    for (int attempt = 0; attempt < 60; ++attempt) {
      Trial<kOptions> trial;
      for (int option = 0; option < kCount; ++option) trial[option] = static_cast<int>(engine() % levels[option]);
      const Pair& wanted = *missing.begin();
      trial[wanted[0]] = wanted[1], trial[wanted[2]] = wanted[3];
      size_t covered = 0;
      for (const Pair& pair : pairs(trial)) covered += missing.count(pair);
      if (covered > most) best = trial, most = covered;
    }
    trials.push_back(best);
    for (const Pair& pair : pairs(best)) missing.erase(pair);
  }
  return trials;
}

}  // namespace tessera
