#include "kernels/flash_attention/cpu/tile_product.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace tessera::attention {
namespace {

template <class A>
class TileProduct : public ::testing::Test {};
using Elements = ::testing::Types<float, double>;
TYPED_TEST_SUITE(TileProduct, Elements);

template <class A>
struct Filled {
  std::vector<A> memory;
  Tile<A> tile;

  Filled(int64_t rows, int64_t columns, uint32_t seed)
      : memory(static_cast<size_t>(rows * (columns + 3))), tile{memory.data(), rows, columns, columns + 3} {
    std::mt19937 engine(seed);
    std::normal_distribution<A> normal;
    for (A& value : memory) value = normal(engine);
  }
};

template <class A>
double expected(double before, const Tile<A>& left, bool transposed, const Tile<A>& right, int64_t r, int64_t c) {
  for (int64_t k = 0; k < right.rows; ++k)
    before += double(transposed ? left.row(k)[r] : left.row(r)[k]) * right.row(k)[c];
  return before;
}

TYPED_TEST(TileProduct, AgreesWithLoops) {
  using A = TypeParam;
  const double tolerance = sizeof(A) == 4 ? 1e-4 : 1e-12;
  for (const TileBackend backend : {TileBackend::best, TileBackend::portable}) {
    const TileProducts<A> multiply(backend);
    for (const int64_t rows : {1, 5, 6, 13, 64}) {
      for (const int64_t columns : {16, 48, 80}) {
        for (const int64_t depth : {0, 1, 17, 64}) {
          const Filled<A> left(rows, depth, 1), turned(depth, rows, 2), right(depth, columns, 3);
          const Filled<A> before(rows, columns, 4);
          Filled<A> assigned = before, added = before, turned_added = before;
          for (Filled<A>* copy : {&assigned, &added, &turned_added}) copy->tile.data = copy->memory.data();
          multiply.assign(assigned.tile, left.tile, right.tile);
          multiply.add(added.tile, left.tile, right.tile, Zero::ieee);
          multiply.add_transposed(turned_added.tile, turned.tile, right.tile, Zero::ieee);
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < columns; ++c) {
              const double start = before.memory[r * (columns + 3) + c];
              ASSERT_NEAR(assigned.tile.row(r)[c], expected<A>(0, left.tile, false, right.tile, r, c), tolerance);
              ASSERT_NEAR(added.tile.row(r)[c], expected<A>(start, left.tile, false, right.tile, r, c), tolerance);
              ASSERT_NEAR(turned_added.tile.row(r)[c], expected<A>(start, turned.tile, true, right.tile, r, c),
                          tolerance);
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(TileProduct, AbsorbingZerosHideNan) {
  using A = TypeParam;
  const A nan = std::numeric_limits<A>::quiet_NaN();
  const TileProducts<A> multiply(TileBackend::best);
  Filled<A> left(2, 3, 1), right(3, 16, 2), out(2, 16, 3);
  out.tile.fill(0);
  left.tile.row(0)[1] = 0;
  left.tile.row(1)[2] = 0;
  right.tile.row(1)[4] = nan;
  right.tile.row(2)[5] = 0;
  left.tile.row(0)[2] = nan;
  multiply.add(out.tile, left.tile, right.tile, Zero::absorbing);
  EXPECT_TRUE(std::isnan(out.tile.row(0)[4]));   // the NaN weight of row 0
  EXPECT_FALSE(std::isnan(out.tile.row(0)[5]));  // meets a zero here
  EXPECT_TRUE(std::isnan(out.tile.row(1)[4]));
  EXPECT_FALSE(std::isnan(out.tile.row(1)[5]));
  EXPECT_NEAR(out.tile.row(0)[5], left.tile.row(0)[0] * right.tile.row(0)[5], 1e-6);
}

}  // namespace
}  // namespace tessera::attention
