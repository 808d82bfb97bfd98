// The numbers of attention: sizes, dtypes, strides, threads.
#include "kernels/flash_attention/flash_attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include "tests/kernels/array.h"
#include "tests/kernels/flash_attention/attention_case.h"

namespace tessera {
namespace {

using attention::TileBackend;

AttentionCase sized(int64_t N, int64_t M, int64_t D, uint64_t seed = 1) {
  AttentionCase c{.N = N, .M = M, .D = D};
  c.fill(seed);
  return c;
}

TEST(FlashAttention, EveryHeadSize) {
  std::vector<int64_t> sizes{32, 40, 64, 72, 80, 96, 128, 160, 256};
  for (int64_t D = 1; D <= 256; D += D < 20 ? 1 : 23) sizes.push_back(D);
  for (const int64_t D : sizes) {
    const AttentionCase c = sized(37, 45, D);
    AttentionRule(c, DType::f32).expect(c);
  }
}

class FlashAttentionLengths : public testing::TestWithParam<int64_t> {
 public:
  static constexpr std::array<int64_t, 6> kLengths{1, 2, 113, 203, 799, 1023};
};

TEST_P(FlashAttentionLengths, BothWays) {
  for (const int64_t M : kLengths) {
    for (const bool causal : {false, true}) {
      AttentionCase c = sized(GetParam(), M, 8);
      c.causal = causal;
      const AttentionAnswer found = run_attention(c, DType::f32), exact = exact_attention(c);
      EXPECT_LT(relative_error(found.out, exact.out), 1e-5) << c.describe();
      EXPECT_LT(relative_error(found.lse, exact.lse), 1e-5) << c.describe();
      // With one key the exact dq and dk are zero: what is left are roundings, of which dk adds up N. Of two keys the
      // causal line shows both to one query alone, whose rounding then is all there is.
      const double of_zero = 1e-4, of_sum = of_zero * std::sqrt(std::max(1.0, static_cast<double>(c.N) / 203));
      const double usual = M == 2 && causal && c.N > 203 ? 3e-5 : 1e-5;
      EXPECT_LT(relative_error(found.dq, exact.dq), M == 1 ? of_zero : usual) << c.describe();
      EXPECT_LT(relative_error(found.dk, exact.dk), M == 1 ? of_sum : usual) << c.describe();
      EXPECT_LT(relative_error(found.dv, exact.dv), 1e-5) << c.describe();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(N, FlashAttentionLengths, testing::ValuesIn(FlashAttentionLengths::kLengths),
                         [](const auto& test) { return std::to_string(test.param); });

TEST(FlashAttention, LongerLengthsWithOptions) {
  for (const int64_t D : {64, 80}) {
    AttentionCase c{.N = 799, .M = 1023, .H = 2, .KvH = 1, .D = D};
    c.causal = true;
    c.window_left = 500;
    c.softcap = 5;
    c.slopes = {0.125f, 0.0078125f};
    c.dropout = 0.1f;
    c.fill(2);
    AttentionRule(c, DType::f32).expect(c);
  }
}

// The softmax moves its base only where a score exceeds it by much: scores that climb slowly, fast, and fall.
TEST(FlashAttention, ScoresThatClimbFromTileToTile) {
  for (const double climb : {-3.0, 0.2, 0.9, 4.0, 9.0}) {
    AttentionCase c{.N = 70, .M = 90, .D = 16, .k_bucket_size = 16};
    c.fill(6);
    for (int64_t i = 0; i < c.N; ++i) c.q[i * c.D] = 4;
    for (int64_t j = 0; j < c.M; ++j) c.k[j * c.D] = static_cast<float>(climb * static_cast<double>(j) / 16);
    const AttentionAnswer found = run_attention(c, DType::f32), exact = exact_attention(c);
    EXPECT_LT(relative_error(found.lse, exact.lse), 1e-6) << climb;
    EXPECT_LT(relative_error(found.out, exact.out), 2e-5) << climb;
  }
}

TEST(FlashAttention, NothingToDo) {
  for (const auto& [N, M] : std::vector<std::pair<int64_t, int64_t>>{{0, 5}, {5, 0}, {0, 0}}) {
    const AttentionCase c = sized(N, M, 8);
    EXPECT_EQ(largest_error(run_attention(c, DType::f32), exact_attention(c)), 0.0) << c.describe();
  }
}

TEST(FlashAttention, DoublePrecision) {
  AttentionCase c{.B = 2, .N = 150, .M = 170, .H = 4, .KvH = 2, .D = 20};
  c.causal = true;
  c.softcap = 3;
  c.slopes = {0.5f, 0.25f, 0.125f, 0.0625f};
  c.dropout = 0.2f;
  c.fill(3, DType::f64);
  EXPECT_LT(largest_error(run_attention(c, DType::f64), exact_attention(c)), 1e-13);
}

TEST(FlashAttention, SixteenBitIsAsGoodAsPlain) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const int64_t D : {24, 40, 64, 128, 256}) {
      AttentionCase c{.B = 1, .N = 201, .M = 203, .H = 2, .KvH = 1, .D = D};
      c.causal = D == 64 || D == 256;
      c.fill(4, dtype);
      const AttentionRule rule(c, dtype);
      for (const bool deterministic : {true, false}) {
        c.deterministic = deterministic;
        rule.expect(c);
      }
    }
  }
}

TEST(FlashAttention, SixteenBitOptionsAreAsGoodAsPlain) {
  AttentionCase c{.B = 1, .N = 300, .M = 290, .H = 2, .KvH = 2, .D = 64};
  c.softcap = 4;
  c.slopes = {0.25f, 0.0625f};
  c.window_left = 200;
  c.dropout = 0.2f;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    c.deterministic = dtype == DType::f16;
    c.fill(5, dtype);
    AttentionRule(c, dtype).expect(c);
  }
}

TEST(FlashAttention, TheDeterministicFormGivesTheSameBits) {
  AttentionCase c{.B = 1, .N = 140, .M = 150, .H = 4, .KvH = 2, .D = 64};
  c.fill(7, DType::bf16);
  const AttentionAnswer first = run_attention(c, DType::bf16), second = run_attention(c, DType::bf16);
  EXPECT_EQ(first.out, second.out);
  EXPECT_EQ(first.dq, second.dq);
  EXPECT_EQ(first.dk, second.dk);
  EXPECT_EQ(first.dv, second.dv);
}

TEST(FlashAttention, ViewsOfOnePackedBuffer) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    AttentionCase c{.B = 2, .N = 70, .M = 70, .H = 3, .KvH = 3, .D = 12};
    c.packed = true;
    c.fill(5);
    AttentionRule(c, dtype).expect(c);
  }
}

TEST(FlashAttention, PortableProductsAgree) {
  for (const int64_t D : {5, 64, 100}) {
    AttentionCase c{.N = 139, .M = 150, .H = 2, .KvH = 1, .D = D};
    c.causal = true;
    c.fill(7);
    EXPECT_LT(largest_error(run_attention(c, DType::f32, TileBackend::portable), exact_attention(c)), 1e-5)
        << c.describe();
  }
}

struct Threaded {
  int64_t length, heads, repeats;
};

class FlashAttentionThreads : public testing::TestWithParam<Threaded> {
 protected:
  ~FlashAttentionThreads() override { omp_set_num_threads(before); }

  const int before = omp_get_max_threads();
};

TEST_P(FlashAttentionThreads, DoNotChangeABit) {
  const auto& [length, heads, repeats] = GetParam();
  AttentionCase c{.B = 1, .N = length, .M = length, .H = 2 * heads, .KvH = heads, .D = 16};
  c.causal = heads == 3;
  c.fill(8);
  omp_set_num_threads(1);
  const AttentionAnswer one = run_attention(c, DType::f32);
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    omp_set_num_threads(repeat % 2 == 0 ? 2 : 5);
    const AttentionAnswer many = run_attention(c, DType::f32);
    ASSERT_EQ(many.out, one.out);
    ASSERT_EQ(many.lse, one.lse);
    ASSERT_EQ(many.dq, one.dq);
    ASSERT_EQ(many.dk, one.dk);
    ASSERT_EQ(many.dv, one.dv);
  }
}

INSTANTIATE_TEST_SUITE_P(Length, FlashAttentionThreads,
                         testing::Values(Threaded{700, 1, 1}, Threaded{300, 3, 3}, Threaded{40, 9, 30}),
                         [](const auto& test) { return std::to_string(test.param.length); });

TEST(FlashAttention, ForwardWithoutStatistics) {
  AttentionCase c = sized(20, 30, 8);
  c.fill(1, DType::bf16);
  const AttentionAnswer exact = exact_attention(c), plain = plain_attention(c, DType::bf16);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto array = [&](const std::vector<double>& values, int64_t length) {
      return Array::of(dtype, {1, length, 1, 8}, values);
    };
    const Array q = array(c.q, 20), k = array(c.k, 30), v = array(c.v, 30);
    Array out(dtype, {1, 20, 1, 8});
    run_on_test_device(FlashAttentionForward{
        .q = q.in<4>(), .k = k.in<4>(), .v = v.in<4>(), .options = c.options(), .out = out.out<4>(), .lse = {}});
    EXPECT_LT(relative_error(out.values(), exact.out),
              dtype == DType::f32 ? 1e-5 : 2 * relative_error(plain.out, exact.out));
  }
}

}  // namespace
}  // namespace tessera
