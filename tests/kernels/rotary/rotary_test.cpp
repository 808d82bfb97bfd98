#include "kernels/rotary/rotary.h"

#include <gtest/gtest.h>

#include "tests/kernels/array.h"

namespace tessera {
namespace {

// The equations of the header; `position` gives that of token (b, n).
std::vector<double> reference(const Array& x, const std::array<int64_t, 4>& shape, double base, double turn,
                              const std::function<double(int64_t, int64_t)>& position) {
  const auto [batch, length, heads, size] = shape;
  std::vector<double> y(x.numel());
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t n = 0; n < length; ++n)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t i = 0; i < size / 2; ++i) {
          const int64_t first = ((b * length + n) * heads + h) * size + i, second = first + size / 2;
          const double angle = turn * position(b, n) * std::pow(base, -2.0 * i / size);
          y[first] = x[first] * std::cos(angle) - x[second] * std::sin(angle);
          y[second] = x[second] * std::cos(angle) + x[first] * std::sin(angle);
        }
  return y;
}

TEST(Rotary, EveryDtypeBothWays) {
  const std::array<int64_t, 4> shape{2, 9, 3, 22};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    for (const RotaryDirection direction : {RotaryDirection::forward, RotaryDirection::inverse}) {
      const Array x = Array::random(dtype, {2, 9, 3, 22}, 1, -1, 1, 2);
      Array y(dtype, {2, 9, 3, 22}, 1);
      run_on_test_device(
          Rotary{.x = x.in<4>(), .positions = {}, .start = 40, .base = 500, .direction = direction, .y = y.out<4>()});
      const double turn = direction == RotaryDirection::forward ? 1 : -1;
      const std::vector<double> expected = reference(x, shape, 500, turn, [](int64_t, int64_t n) { return 40.0 + n; });
      expect_close(y, expected, rounding_unit(dtype), dtype == DType::f64 ? 1e-14 : 2e-7);
    }
  }
}

TEST(Rotary, PositionsPerTokenSharedOrNot) {
  const Array x = Array::random(DType::f32, {3, 5, 2, 8}, 1);
  const Array positions = Array::random(DType::i32, {3, 5}, 2, 0, 100000);
  Array y(DType::f32, {3, 5, 2, 8});
  In<2> places = positions.in<2>();
  Rotary rotary{.x = x.in<4>(),
                .positions = places,
                .start = 7,
                .base = 10000,
                .direction = RotaryDirection::forward,
                .y = y.out<4>()};
  run_on_test_device(rotary);
  expect_close(y, reference(x, {3, 5, 2, 8}, 1e4, 1, [&](int64_t b, int64_t n) { return positions[b * 5 + n]; }), 0,
               5e-7);
  rotary.positions.strides[0] = 0;
  run_on_test_device(rotary);
  expect_close(y, reference(x, {3, 5, 2, 8}, 1e4, 1, [&](int64_t, int64_t n) { return positions[n]; }), 0, 5e-7);
}

TEST(Rotary, StridedAndInPlaceAndTheInverseUndoesIt) {
  Array qkv = Array::random(DType::f64, {2, 7, 6, 10}, 1);  // heads 2 and 3 of six are rotated where they lie
  const Array before = qkv;
  Out<4> part = qkv.out<4>();
  part.shape[2] = 2;
  part.data = static_cast<double*>(part.data) + 2 * 10;
  Rotary rotary{.x = {part.data, part.dtype, part.shape, part.strides},
                .positions = {},
                .start = 1,
                .base = 10000,
                .direction = RotaryDirection::forward,
                .y = part};
  run_on_test_device(rotary);
  for (int64_t i = 0; i < qkv.numel(); ++i) {
    const int64_t head = i / 10 % 6;
    const bool turned = head == 2 || head == 3;
    EXPECT_EQ(qkv[i] != before[i], turned) << i;
  }
  rotary.direction = RotaryDirection::inverse;
  run_on_test_device(rotary);
  expect_close(qkv, before.values(), 0, 1e-14);
}

// Generation with a cache rotates one token at a time: it must see the very numbers that training saw.
TEST(Rotary, ANumberDependsOnItsPositionOnly) {
  const Array x = Array::random(DType::f32, {1, 300, 2, 64}, 1);
  Array whole(DType::f32, {1, 300, 2, 64}), one(DType::f32, {1, 1, 2, 64});
  Rotary rotary{.x = x.in<4>(),
                .positions = {},
                .start = 0,
                .base = 10000,
                .direction = RotaryDirection::forward,
                .y = whole.out<4>()};
  run_on_test_device(rotary);
  Rotary single = rotary;
  single.x.shape[1] = 1;
  single.x.data = x.in<4>().as<float>() + 257 * 128;
  single.start = 257;
  single.y = one.out<4>();
  run_on_test_device(single);
  for (int64_t i = 0; i < 128; ++i) EXPECT_EQ(one[i], whole[257 * 128 + i]);
}

}  // namespace
}  // namespace tessera
