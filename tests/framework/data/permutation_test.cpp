#include "framework/data/permutation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace tessera {
namespace {

std::vector<int64_t> table(int64_t size, uint64_t key) {
  const Permutation permutation(size, key);
  std::vector<int64_t> values(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) values[static_cast<size_t>(i)] = permutation(i);
  return values;
}

TEST(Permutation, HitsEverythingOnce) {
  for (const int64_t size : {1, 2, 3, 4, 5, 7, 16, 17, 64, 65, 1000, 4096, 4097, 100'003}) {
    std::vector<int64_t> values = table(size, 42);
    std::sort(values.begin(), values.end());
    std::vector<int64_t> all(values.size());
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(values, all) << size;
  }
}

TEST(Permutation, DependsOnTheKeyAlone) {
  EXPECT_EQ(table(1000, 7), table(1000, 7));
  EXPECT_NE(table(1000, 7), table(1000, 8));
}

TEST(Permutation, StaysInsideAHugeRange) {
  const int64_t size = (int64_t{1} << 61) + 12345;
  const Permutation permutation(size, 3);
  for (int64_t i = size - 1000; i < size; ++i) {
    EXPECT_GE(permutation(i), 0);
    EXPECT_LT(permutation(i), size);
  }
}

/// Each of five places holds each of five values equally often over the keys: chi-square with 16 degrees of freedom.
TEST(Permutation, IsFairOverTheKeys) {
  constexpr int kKeys = 20'000;
  int seen[5][5] = {};
  for (uint64_t key = 0; key < kKeys; ++key) {
    const Permutation permutation(5, mix(key, 99));
    for (int64_t i = 0; i < 5; ++i) ++seen[i][permutation(i)];
  }
  double chi_square = 0;
  for (const auto& row : seen) {
    for (const int count : row) chi_square += std::pow(count - kKeys / 5.0, 2) / (kKeys / 5.0);
  }
  EXPECT_LT(chi_square, 39.3);  // exceeded once in a thousand
}

TEST(Permutation, LeavesNoNeighboursTogether) {
  const std::vector<int64_t> values = table(10'000, 1);
  int neighbours = 0;
  for (size_t i = 1; i < values.size(); ++i) neighbours += std::abs(values[i] - values[i - 1]) == 1;
  EXPECT_LT(neighbours, 15);  // two are expected
}

}  // namespace
}  // namespace tessera
