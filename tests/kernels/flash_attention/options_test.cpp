// The options of attention: each, in pairs, and what they hide.
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/flash_attention/attention_case.h"
#include "tests/support/covering_array.h"

namespace tessera {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// The levels of each option; a trial picks one level per option.
enum Option {
  kLine,
  kSoftcap,
  kBias,
  kDrop,
  kMask,
  kSegments,
  kHeads,
  kShape,
  kType,
  kTiles,
  kHeadSize,
  kOrder,
  kOptions
};
constexpr std::array<int, kOptions> kLevels{5, 2, 2, 2, 5, 2, 3, 3, 4, 3, 8, 2};
void add_mask(AttentionCase& c, int level, std::mt19937& engine) {
  const std::array<std::array<int64_t, 4>, 5> shapes{
      {{1, 1, 1, 1}, {c.B, 1, 1, c.M}, {c.B, c.H, c.N, c.M}, {1, 1, c.N, c.M}, {1, c.H, c.N, 1}}};
  if (level == 0) return;
  c.mask_shape = shapes[level];
  const auto [mb, mh, mn, mm] = c.mask_shape;
  c.mask.resize(static_cast<size_t>(mb * mh * mn * mm));
  for (uint8_t& visible : c.mask) visible = engine() % 3 != 0;
}

AttentionCase case_of(const Trial<kOptions>& trial, uint64_t seed) {
  std::mt19937 engine(static_cast<uint32_t>(seed));
  const std::array<std::array<int64_t, 2>, 3> shapes{{{70, 70}, {45, 83}, {83, 45}}};
  const std::array<std::array<int64_t, 2>, 3> heads{{{2, 2}, {4, 2}, {3, 1}}};
  const std::array<std::array<int64_t, 2>, 3> tiles{{{512, 1024}, {16, 16}, {9, 21}}};
  AttentionCase c{.B = 2,
                  .N = shapes[trial[kShape]][0],
                  .M = shapes[trial[kShape]][1],
                  .H = heads[trial[kHeads]][0],
                  .KvH = heads[trial[kHeads]][1],
                  .D = std::array{16, 10, 72, 136, 40, 96, 160, 256}[trial[kHeadSize]]};
  c.causal = trial[kLine] == 1 || trial[kLine] == 2;
  if (trial[kLine] == 2) c.window_left = 20;
  if (trial[kLine] == 3) c.window_left = 12, c.window_right = 7;
  if (trial[kLine] == 4) c.window_right = 30;
  c.softcap = trial[kSoftcap] == 1 ? 2 : 0;
  if (trial[kBias] == 1) {
    for (int64_t h = 0; h < c.H; ++h) c.slopes.push_back(std::ldexp(1.0f, static_cast<int>(-h) - 2));
  }
  c.dropout = trial[kDrop] == 1 ? 0.25f : 0.0f;
  add_mask(c, trial[kMask], engine);
  if (trial[kSegments] == 1) {
    for (int64_t b = 0; b < c.B; ++b) {
      for (int64_t i = 0; i < c.N; ++i) c.q_segments.push_back(static_cast<int32_t>(i / (20 + b)));
      for (int64_t j = 0; j < c.M; ++j) c.k_segments.push_back(static_cast<int32_t>(j / (22 + b)));
    }
  }
  c.q_bucket_size = tiles[trial[kTiles]][0], c.k_bucket_size = tiles[trial[kTiles]][1];
  c.deterministic = trial[kOrder] == 0;
  c.packed = c.N == c.M && c.H == c.KvH;
  return c;
}

TEST(FlashAttentionOptions, EveryPair) {
  const std::array<DType, 4> dtypes{DType::f32, DType::f64, DType::bf16, DType::f16};
  uint64_t seed = 0;
  for (const Trial<kOptions>& trial : covering_array(kLevels)) {
    const DType dtype = dtypes[trial[kType]];
    AttentionCase c = case_of(trial, ++seed);
    c.fill(seed, dtype);
    AttentionRule(c, dtype).expect(c);
  }
}

/// A case whose every kind of hiding is at work, with rows and a whole sample that see nothing.
AttentionCase hiding() {
  AttentionCase c{.B = 2, .N = 100, .M = 90, .H = 2, .KvH = 1, .D = 8};
  c.causal = true;
  c.window_left = 50;
  c.mask_shape = {2, 1, 100, 90};
  c.mask.assign(2 * 100 * 90, 0);
  std::mt19937 engine(5);
  for (int64_t i = 0; i < 100; ++i) {
    for (int64_t j = 0; j < 90; ++j) c.mask[i * 90 + j] = engine() % 4 != 0 && i % 9 != 0 && j % 7 != 0;
  }
  c.q_bucket_size = 32, c.k_bucket_size = 40;
  c.fill(9, DType::bf16);
  return c;
}

TEST(FlashAttentionOptions, RowsAndSamplesThatSeeNothing) {
  const AttentionCase c = hiding();
  const AttentionAnswer answer = run_attention(c, DType::f32);
  EXPECT_LT(largest_error(answer, exact_attention(c)), 1e-5);
  for (int64_t b = 0; b < c.B; ++b) {
    for (int64_t i = 0; i < c.N; ++i) {
      if (b == 0 && i >= 10 && i % 9 != 0) continue;
      for (int64_t h = 0; h < c.H; ++h) {
        EXPECT_EQ(answer.lse[(b * c.H + h) * c.N + i], -std::numeric_limits<double>::infinity());
        for (int64_t d = 0; d < c.D; ++d) {
          ASSERT_EQ(answer.out[((b * c.N + i) * c.H + h) * c.D + d], 0);
          ASSERT_EQ(answer.dq[((b * c.N + i) * c.H + h) * c.D + d], 0);
        }
      }
    }
    for (int64_t j = 0; j < c.M; ++j) {
      if (b == 0 && j % 7 != 0) continue;
      for (int64_t d = 0; d < c.D; ++d) {
        ASSERT_EQ(answer.dk[(b * c.M + j) * c.D + d], 0);
        ASSERT_EQ(answer.dv[(b * c.M + j) * c.D + d], 0);
      }
    }
  }
}

/// Puts NaN (or infinity) where nobody looks: hidden keys, and queries that see nothing.
AttentionCase poisoned(AttentionCase c, double poison) {
  for (int64_t b = 0; b < c.B; ++b) {
    for (int64_t j = 0; j < c.M; ++j) {
      if (b == 0 && j % 7 != 0) continue;
      for (int64_t d = 0; d < c.D; ++d) c.k[(b * c.M + j) * c.D + d] = c.v[(b * c.M + j) * c.D + d] = poison;
    }
    for (int64_t i = 0; i < c.N; ++i) {
      if (b == 0 && i >= 10 && i % 9 != 0) continue;
      for (int64_t e = 0; e < c.H * c.D; ++e)
        c.q[(b * c.N + i) * c.H * c.D + e] = c.dout[(b * c.N + i) * c.H * c.D + e] = poison;
    }
  }
  return c;
}

TEST(FlashAttentionOptions, HiddenNanNeverLeaks) {
  AttentionCase c = hiding();
  for (const double softcap : {0.0, 2.0}) {
    for (const float dropout : {0.0f, 0.3f}) {
      c.softcap = softcap, c.dropout = dropout;
      const AttentionRule in_f32(c, DType::f32), in_bf16(c, DType::bf16);
      const AttentionAnswer clean = exact_attention(c);
      for (const double poison : {kNan, std::numeric_limits<double>::infinity()}) {
        const AttentionCase bad = poisoned(c, poison);
        in_f32.expect(bad);
        in_bf16.expect(bad);
        EXPECT_LT(largest_error(run_attention(bad, DType::f32, attention::TileBackend::portable), clean), 1e-5);
      }
    }
  }
}

// Keys that belong to no query's segment, and queries that belong to no key's, in tiles of their own and in mixed ones.
TEST(FlashAttentionOptions, NanOfAForeignSegmentNeverLeaks) {
  AttentionCase c{.B = 2, .N = 100, .M = 90, .H = 2, .KvH = 1, .D = 8, .q_bucket_size = 32, .k_bucket_size = 40};
  const auto foreign = [](int64_t i) { return i % 7 == 3 || (i >= 32 && i < 80); };
  for (int64_t b = 0; b < c.B; ++b) {
    for (int64_t i = 0; i < c.N; ++i) c.q_segments.push_back(foreign(i) ? 8 : static_cast<int32_t>(i % 2));
    for (int64_t j = 0; j < c.M; ++j) c.k_segments.push_back(foreign(j) ? 9 : static_cast<int32_t>(j % 2));
  }
  c.fill(14, DType::bf16);
  const AttentionRule in_f32(c, DType::f32), in_bf16(c, DType::bf16);
  const AttentionAnswer clean = exact_attention(c);
  for (const double poison : {kNan, std::numeric_limits<double>::infinity()}) {
    AttentionCase bad = c;
    for (int64_t row = 0; row < c.B * c.N; ++row) {
      if (!foreign(row % c.N)) continue;
      for (int64_t e = 0; e < c.H * c.D; ++e) bad.q[row * c.H * c.D + e] = bad.dout[row * c.H * c.D + e] = poison;
    }
    for (int64_t row = 0; row < c.B * c.M; ++row) {
      if (!foreign(row % c.M)) continue;
      for (int64_t d = 0; d < c.D; ++d) bad.k[row * c.D + d] = bad.v[row * c.D + d] = poison;
    }
    in_f32.expect(bad);
    in_bf16.expect(bad);
    EXPECT_LT(largest_error(run_attention(bad, DType::f32, attention::TileBackend::portable), clean), 1e-5);
  }
}

TEST(FlashAttentionOptions, NanReachesExactlyThoseWhoSeeIt) {
  for (const bool in_key : {true, false}) {
    AttentionCase c{.N = 140, .M = 140, .D = 8};
    c.causal = true;
    c.q_bucket_size = 64, c.k_bucket_size = 64;
    c.fill(10);
    if (in_key) c.k[50 * c.D + 3] = kNan;  // rows 50 and on see it
    else c.q[90 * c.D + 3] = kNan;         // keys 0 … 90 are seen by row 90
    const AttentionAnswer exact = exact_attention(c), fused = run_attention(c, DType::f32);
    EXPECT_FALSE(std::isnan(exact.out[49 * c.D]));
    EXPECT_TRUE(std::isnan(exact.out[90 * c.D]));
    EXPECT_LT(largest_error(fused, exact), 1e-5) << in_key;
  }
}

TEST(FlashAttentionOptions, ValueNanStaysInTheOutputsThatSeeIt) {
  AttentionCase c{.N = 80, .M = 80, .D = 8};
  c.causal = true;
  c.fill(11);
  c.v[40 * c.D + 2] = kNan;
  const AttentionAnswer exact = exact_attention(c), fused = run_attention(c, DType::f32);
  EXPECT_LT(relative_error(fused.out, exact.out), 1e-5);
  EXPECT_LT(relative_error(fused.dv, exact.dv), 1e-5);
}

TEST(FlashAttentionOptions, DropoutDoesNotDependOnTiles) {
  AttentionCase c{.B = 2, .N = 61, .M = 75, .H = 2, .KvH = 2, .D = 4};
  c.dropout = 0.4f;
  c.fill(12);
  const AttentionAnswer exact = exact_attention(c);
  for (const int64_t bound : {1, 5, 30, 512}) {
    c.q_bucket_size = c.k_bucket_size = bound;
    EXPECT_LT(largest_error(run_attention(c, DType::f32), exact), 1e-5) << bound;
  }
}

TEST(FlashAttentionOptions, HugeScoresStayFinite) {
  AttentionCase c{.N = 40, .M = 50, .D = 4};
  c.fill(13);
  for (double& value : c.q) value *= 300;
  for (double& value : c.k) value *= 300;
  EXPECT_LT(largest_error(run_attention(c, DType::f32), exact_attention(c)), 2e-2);  // scores of 1e5 in 24 bits
  for (const double value : run_attention(c, DType::f32).dk) ASSERT_TRUE(std::isfinite(value));
}

}  // namespace
}  // namespace tessera
