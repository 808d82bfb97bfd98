// Hidden tiles: told apart from visible ones, and skipped, so that nobody reads their memory.
#include "kernels/flash_attention/cpu/visibility.h"

#include <algorithm>
#include <array>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/kernels/flash_attention/attention_case.h"

namespace tessera {
namespace {

using attention::Lanes;
using attention::Range;
using attention::Sight;
using attention::TilePlace;
using attention::Visibility;

/// Cases of one kind of hiding each, whose tiles of 16 × 24 are of all three kinds of sight.
std::vector<AttentionCase> hiding_cases() {
  const AttentionCase bare{.N = 100, .M = 90};
  std::vector<AttentionCase> cases(5, bare);
  cases[0].causal = true;
  cases[1].window_left = 50, cases[1].window_right = 10;
  cases[2].causal = true, cases[2].window_left = 60;
  cases[3].mask_shape = {1, 1, 100, 90};
  for (int64_t i = 0; i < 100; ++i) {
    for (int64_t j = 0; j < 90; ++j) cases[3].mask.push_back(i < 40 ? j < 30 : j != 80);
  }
  for (int64_t i = 0; i < 100; ++i) cases[4].q_segments.push_back(static_cast<int32_t>(i / 32));
  for (int64_t j = 0; j < 90; ++j) cases[4].k_segments.push_back(static_cast<int32_t>(j / 40));
  return cases;
}

Sight counted_sight(const AttentionCase& c, Range queries, Range keys) {
  int64_t seen = 0;
  for (int64_t i = queries.begin; i < queries.end; ++i) {
    for (int64_t j = keys.begin; j < keys.end; ++j) seen += c.visible(0, 0, i, j);
  }
  return seen == 0 ? Sight::none : seen == queries.size() * keys.size() ? Sight::all : Sight::some;
}

TEST(Visibility, TellsHiddenTilesFromVisibleOnes) {
  for (const AttentionCase& c : hiding_cases()) {
    const AttentionOptions options = c.options();
    const Visibility visibility(options, c.N, c.M);
    int64_t found[3] = {};
    for (int64_t i = 0; i < c.N; i += 16) {
      for (int64_t j = 0; j < c.M; j += 24) {
        const Range queries{i, std::min(i + 16, c.N)}, keys{j, std::min(j + 24, c.M)};
        const Sight expected = counted_sight(c, queries, keys);
        ++found[static_cast<int>(expected)];
        EXPECT_EQ(visibility.sight(TilePlace<Lanes::queries>{0, 0, queries, keys}), expected) << c.describe();
        EXPECT_EQ(visibility.sight(TilePlace<Lanes::keys>{0, 0, queries, keys}), expected) << c.describe();
      }
    }
    for (const int64_t tiles : found) EXPECT_GT(tiles, 0) << "the case has too few kinds of tiles: " << c.describe();
  }
}

/// Zeros, f32 [1, rows, 1, 64]. The system gives a page, 16 rows, its memory when somebody first looks at it.
class LazyRows {
 public:
  explicit LazyRows(int64_t rows)
      : rows_(rows), begin_(mmap(nullptr, bytes(rows), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    madvise(begin_, bytes(rows), MADV_NOHUGEPAGE);
  }
  ~LazyRows() { munmap(begin_, bytes(rows_)); }
  LazyRows(const LazyRows&) = delete;
  LazyRows& operator=(const LazyRows&) = delete;

  In<4> in() const { return {begin_, DType::f32, {1, rows_, 1, 64}, {64 * rows_, 64, 64, 1}}; }
  Out<4> out() const { return {begin_, DType::f32, {1, rows_, 1, 64}, {64 * rows_, 64, 64, 1}}; }
  /// Whether anybody looked at one of these rows, which begin and end where pages do.
  bool touched(Range rows) const {
    std::vector<unsigned char> pages(static_cast<size_t>(rows.size() / 16));
    EXPECT_EQ(mincore(static_cast<char*>(begin_) + bytes(rows.begin), bytes(rows.size()), pages.data()), 0);
    return std::ranges::any_of(pages, [](unsigned char page) { return (page & 1) != 0; });
  }

 private:
  static size_t bytes(int64_t rows) { return static_cast<size_t>(rows) * 64 * sizeof(float); }

  int64_t rows_;
  void* begin_;
};

/// A case with whole tiles of 64 rows, of keys or of queries, that nobody sees or that see nobody.
struct HiddenRows {
  AttentionCase attention;
  Range hidden, visible;
};

AttentionCase of_lengths(int64_t queries, int64_t keys) {
  return {.N = queries, .M = keys, .D = 64, .q_bucket_size = 64, .k_bucket_size = 64};
}

/// Rows 64 to 127 of 256 hidden by a mask, and by a segment of their own: keys or queries, as the arguments say.
std::vector<HiddenRows> hidden_rows(const std::array<int64_t, 4>& mask_shape, std::vector<int32_t> AttentionCase::*of) {
  AttentionCase mask = of_lengths(256, 256), segments = mask;
  mask.mask_shape = mask_shape;
  mask.mask.assign(256, 1);
  segments.q_segments.assign(256, 0);
  segments.k_segments.assign(256, 0);
  for (int64_t row = 64; row < 128; ++row) mask.mask[row] = 0, (segments.*of)[row] = 7;
  return {{mask, {64, 128}, {128, 256}}, {segments, {64, 128}, {128, 256}}};
}

std::vector<HiddenRows> hidden_keys() {
  std::vector<HiddenRows> cases = hidden_rows({1, 1, 1, 256}, &AttentionCase::k_segments);
  AttentionCase window = of_lengths(64, 256);
  window.window_left = 63;  // query 0 stands at key 192
  cases.push_back({window, {0, 128}, {128, 256}});
  return cases;
}

std::vector<HiddenRows> hidden_queries() {
  std::vector<HiddenRows> cases = hidden_rows({1, 1, 256, 1}, &AttentionCase::q_segments);
  AttentionCase causal = of_lengths(256, 64);
  causal.causal = true;  // query 192 stands at key 0
  cases.push_back({causal, {0, 192}, {192, 256}});
  return cases;
}

bool pages_tell() { return sysconf(_SC_PAGESIZE) == 4096 && !LazyRows(256).touched({0, 256}); }

TEST(Visibility, TheForwardReadsNoHiddenKeyTile) {
  if (!pages_tell()) GTEST_SKIP() << "this system does not say which memory was touched";
  for (const auto& [c, hidden, visible] : hidden_keys()) {
    const LazyRows q(c.N), k(c.M), v(c.M), out(c.N);
    const FlashAttentionForward call{
        .q = q.in(), .k = k.in(), .v = v.in(), .options = c.options(), .out = out.out(), .lse = {}};
    ASSERT_EQ(64 % call.plan(Cpu{}).tile_k, 0);
    call(Cpu{});
    EXPECT_TRUE(k.touched(visible) && v.touched(visible)) << c.describe();
    EXPECT_FALSE(k.touched(hidden)) << c.describe();
    EXPECT_FALSE(v.touched(hidden)) << c.describe();
  }
}

TEST(Visibility, TheBackwardReadsNoQueryTileThatSeesNothing) {
  if (!pages_tell()) GTEST_SKIP() << "this system does not say which memory was touched";
  for (const auto& [c, hidden, visible] : hidden_queries()) {
    const LazyRows q(c.N), k(c.M), v(c.M), out(c.N), dout(c.N), dq(c.N), dk(c.M), dv(c.M);
    const std::vector<float> lse(static_cast<size_t>(c.N), 0);
    const FlashAttentionBackward call{.dout = dout.in(),
                                      .q = q.in(),
                                      .k = k.in(),
                                      .v = v.in(),
                                      .out = out.in(),
                                      .lse = {lse.data(), DType::f32, {1, 1, c.N}, {c.N, c.N, 1}},
                                      .options = c.options(),
                                      .dq = dq.out(),
                                      .dk = dk.out(),
                                      .dv = dv.out()};
    ASSERT_EQ(64 % call.plan(Cpu{}).tile_q, 0);
    call(Cpu{});
    EXPECT_TRUE(q.touched(visible)) << c.describe();
    EXPECT_FALSE(q.touched(hidden)) << c.describe();
  }
}

}  // namespace
}  // namespace tessera
