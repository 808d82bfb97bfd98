// Runs the attention kernels on a few cases under several schedules of the emulator, and says what it notices first: a
// wrong number, a complaint of the emulator, or bank conflicts. `scripts/mutants` runs it on kernels with a deliberate
// fault. The cases have ragged lengths and at least four key tiles, or a ring of stages would never wrap around.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels/simt/block.h"
#include "tests/kernels/flash_attention/attention_case.h"

namespace tessera {
namespace {

AttentionCase sized(int64_t N, int64_t M, int64_t D, bool causal) {
  AttentionCase c{.N = N, .M = M, .H = 2, .KvH = 1, .D = D};
  c.causal = causal;
  return c;
}

/// All options at once, small tiles, a head that ends within a chunk of 16 bytes.
AttentionCase optioned() {
  AttentionCase c{.B = 2, .N = 83, .M = 95, .H = 4, .KvH = 2, .D = 40};
  c.window_left = 70;
  c.window_right = 9;
  c.softcap = 2;
  c.slopes = {0.25f, 0.125f, 0.0625f, 0.03125f};
  c.dropout = 0.25f;
  c.mask_shape = {2, 1, 83, 95};
  std::mt19937 engine(1);
  for (int i = 0; i < 2 * 83 * 95; ++i) c.mask.push_back(engine() % 4 != 0);
  for (int64_t b = 0; b < c.B; ++b) {
    for (int64_t i = 0; i < c.N; ++i) c.q_segments.push_back(static_cast<int32_t>(i / (40 + b)));
    for (int64_t j = 0; j < c.M; ++j) c.k_segments.push_back(static_cast<int32_t>(j / (44 + b)));
  }
  c.q_bucket_size = 32, c.k_bucket_size = 16;
  return c;
}

/// Rows of an odd number of elements, so that no row but the first starts at a multiple of 16 bytes.
AttentionCase unaligned() {
  AttentionCase c = sized(70, 130, 61, true);
  c.KvH = 2;
  return c;
}

AttentionCase windowed() {
  AttentionCase c = sized(90, 270, 64, true);
  c.window_left = 75;
  return c;
}

/// NaN in keys and values that a mask hides from everybody.
AttentionCase hiding() {
  AttentionCase c = sized(40, 75, 64, false);
  c.mask_shape = {1, 1, 1, 75};
  for (int64_t j = 0; j < c.M; ++j) c.mask.push_back(j % 5 != 2);
  return c;
}

/// Nothing hidden, some dropped.
AttentionCase dropping() {
  AttentionCase c = sized(64, 256, 64, false);
  c.dropout = 0.25f;
  return c;
}

/// In the largest tiles there are.
AttentionCase in_large_tiles(AttentionCase c) {
  c.q_bucket_size = 512, c.k_bucket_size = 1024;
  return c;
}

/// dq summed by atomics.
AttentionCase atomic(AttentionCase c) {
  c.deterministic = false;
  return c;
}

struct Check {
  const char* name;
  AttentionCase c;
  DType dtype;
  AttentionAnswer exact{}, plain{};  // in double precision; by a plain implementation in `dtype`
};

std::vector<Check> checks() {
  std::vector<Check> all{{"causal", sized(100, 290, 64, true), DType::bf16},
                         {"full", sized(70, 260, 64, false), DType::bf16},
                         {"window", windowed(), DType::bf16},
                         {"options", optioned(), DType::bf16},
                         {"dropout", dropping(), DType::bf16},
                         {"unaligned", unaligned(), DType::bf16},
                         {"hidden NaN", hiding(), DType::bf16},
                         {"atomic", atomic(sized(150, 150, 64, true)), DType::bf16},
                         {"atomic with options", atomic(optioned()), DType::bf16},
                         {"float", sized(70, 290, 40, true), DType::f32},
                         {"float, unaligned", unaligned(), DType::f32},
                         {"float, hidden NaN", hiding(), DType::f32},
                         {"float with options", in_large_tiles(optioned()), DType::f32},
                         {"float with options, small tiles", optioned(), DType::f32}};
  for (auto& [name, c, dtype, exact, plain] : all) {
    c.fill(7, dtype);
    for (int64_t e = 0; c.mask_shape[3] == 75 && e < c.M * c.D; ++e) {
      if (e / c.D % 5 == 2) c.k[static_cast<size_t>(e)] = c.v[static_cast<size_t>(e)] = NAN;
    }
    exact = exact_attention(c);
    plain = plain_attention(c, dtype);
  }
  return all;
}

/// Empty, or which tensor is wrong. The bounds are those of the tests of the kernels.
std::string complaint(const Check& check) {
  const AttentionAnswer &exact = check.exact, &plain = check.plain, fused = run_attention(check.c, check.dtype);
  const double floor = check.dtype == DType::f32 ? 1e-5 : 1e-3;
  const auto wrong = [floor](const auto& got, const auto& right, const auto& rounded, double factor) {
    return relative_error(got, right) > std::max(floor, factor * relative_error(rounded, right));
  };
  if (wrong(fused.out, exact.out, plain.out, 2)) return "out is wrong";
  if (relative_error(fused.lse, exact.lse) > 1e-5) return "lse is wrong";
  if (wrong(fused.dq, exact.dq, plain.dq, 3)) return "dq is wrong";
  if (wrong(fused.dk, exact.dk, plain.dk, 3)) return "dk is wrong";
  if (wrong(fused.dv, exact.dv, plain.dv, 3)) return "dv is wrong";
  return "";
}

struct Schedule {
  const char* name;
  simt::Policy policy;
};

/// True if nothing was noticed.
bool passes(const Schedule& schedule, const std::vector<Check>& checks) {
  simt::policy() = schedule.policy;
  simt::policy().streams = simt::Streams::eager;  // focus.txt looks at the flags of tiles between two kernels
  for (const Check& check : checks) {
    std::string message;
    // Builds with faults fail where a tile has to be repaired that holds no hidden NaN.
    if (std::string(check.name).ends_with("hidden NaN")) unsetenv("FINITE_TILES");
    else setenv("FINITE_TILES", "1", 1);
    const simt::TrafficMeter meter;
    try {
      message = complaint(check);
      const simt::Traffic traffic = meter.of(simt::Access::ldmatrix);
      if (message.empty() && traffic.wavefronts > traffic.ideal) message = "bank conflicts of ldmatrix";
    } catch (const Error& error) {
      message = error.what();
    }
    if (message.empty()) continue;
    std::printf("%s, %s: %s\n", schedule.name, check.name, message.c_str());
    return false;
  }
  return true;
}

}  // namespace
}  // namespace tessera

int main() {
  using namespace tessera;
  std::vector<Schedule> schedules{{"lazy", {simt::Delivery::lazy}}};
  if (!simt::races_are_checked()) {
    schedules.push_back({"newest first", {simt::Delivery::newest_first}});
    schedules.push_back({"random 1", {simt::Delivery::random, 1}});
    schedules.push_back({"random 2", {simt::Delivery::random, 2}});
  }
  const std::vector<Check> all = checks();
  for (const Schedule& schedule : schedules) {
    if (!passes(schedule, all)) return 1;
  }
}
