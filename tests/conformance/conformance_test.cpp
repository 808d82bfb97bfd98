// The device words against the tables of the PTX ISA (chapters "mma.m16n8k16", "ldmatrix", "cp.async", "shfl", "cvt"),
// computed here from outputs back to inputs; and the emulator against what GPUs gave.
#include "tests/conformance/conformance.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <sstream>

#include <gtest/gtest.h>

#include "kernels/common/half.h"

namespace tessera::conformance {
namespace {

const std::vector<Case>& cases() {
  static const std::vector<Case> all = run_all();
  return all;
}

constexpr int kLanes = 32, kThreads = 64, kAll = 128;

using Inputs = std::vector<uint32_t>;
using Expected = std::function<uint32_t(const Inputs& in, int thread, int output)>;

int first_of_warp(int thread) { return thread / kLanes * kLanes; }
int first_of_block(int thread) { return thread / kThreads * kThreads; }

uint32_t index(const Inputs&, int thread, int output) {
  const int i = thread % kThreads;
  const std::array<int, 8> expected{i, kThreads, i % kLanes, i / kLanes, thread / kThreads, 0, 2, 2};
  return static_cast<uint32_t>(expected[static_cast<size_t>(output)]);
}

uint32_t shuffled(const Inputs& in, int thread, int output) {
  const int lane = thread % kLanes, first = first_of_warp(thread);
  switch (output) {
    case 0: return in[static_cast<size_t>(first + (lane ^ 1))];
    case 1: return in[static_cast<size_t>(first + (lane ^ 10))];
    case 2: return in[static_cast<size_t>(first + (lane ^ 31))];
    case 3: return in[static_cast<size_t>(first)];
    case 4: return in[static_cast<size_t>(first) + in[static_cast<size_t>(thread)] % 32];
    default: return bits_as<uint32_t>(static_cast<float>(in[static_cast<size_t>(first + (lane ^ 16))]));
  }
}

bool any(const Inputs& in, int first, int count, uint32_t divisor) {
  return std::any_of(in.begin() + first, in.begin() + first + count, [&](uint32_t x) { return x % divisor == 0; });
}

uint32_t warp_vote(const Inputs& in, int thread, int output) {
  if (output == 0) return any(in, first_of_warp(thread), kLanes, 64);
  return output == 1 && thread % kThreads >= kLanes;
}

uint32_t block_vote(const Inputs& in, int thread, int output) {
  return output == 0 ? any(in, first_of_block(thread), kThreads, 128) : thread >= kThreads;
}

/// After the barriers cell i < 32 holds input i, cell i ≥ 32 holds input 63 − i and one.
uint32_t handed_over(const Inputs& in, int thread, int output) {
  const auto cell = [&](int i) {
    const size_t first = static_cast<size_t>(first_of_block(thread));
    return i < kLanes ? in[first + static_cast<size_t>(i)] : in[first + static_cast<size_t>(63 - i)] + 1;
  };
  const int i = thread % kThreads;
  return cell(63 - (output == 0 ? i : i ^ 1));
}

/// Register m of a lane: elements 2·(lane % 4) and the next of row lane / 4 of matrix m, whose row r lies where lane
/// 8·m + r says; transposed: rows and columns exchanged.
uint32_t matrix_element(const Inputs& in, int thread, int m, bool transposed) {
  const auto element = [&](int row, int column) {
    const int said_by = first_of_warp(thread % kThreads) + 8 * m + row;
    const size_t lies_in = static_cast<size_t>(first_of_block(thread) + (said_by * 7 + 3) % kThreads);
    return in[lies_in * 4 + static_cast<size_t>(column / 2)] >> (16 * (column % 2)) & 0xffffu;
  };
  const int i = thread % kLanes / 4, j = thread % 4 * 2;
  return transposed ? element(j, i) | element(j + 1, i) << 16 : element(i, j) | element(i, j + 1) << 16;
}

template <class Element>
double half_of(uint32_t pair, int which) {
  Element element;
  element.bits = static_cast<uint16_t>(pair >> (16 * which));
  return static_cast<float>(element);
}

/// Row i, column k of A lies in lane 4·(i % 8) + k % 8 / 2, register i / 8 + 2·(k / 8), half k % 2; row k, column j of
/// B in lane 4·j + k % 8 / 2, register k / 8, half k % 2; row i, column j of C and D in lane 4·(i % 8) + j / 2,
/// register 2·(i / 8) + j % 2.
template <class Element>
uint32_t multiplied(const Inputs& in, int thread, int output) {
  const int i = thread % kLanes / 4 + output / 2 * 8, j = thread % 4 * 2 + output % 2;
  const auto input = [&](int lane, int index) {
    return in[static_cast<size_t>((first_of_warp(thread) + lane) * 10 + index)];
  };
  double sum = bits_as<float>(input(i % 8 * 4 + j / 2, 6 + i / 8 * 2 + j % 2));
  for (int k = 0; k < 16; ++k) {
    sum += half_of<Element>(input(i % 8 * 4 + k % 8 / 2, i / 8 + k / 8 * 2), k % 2) *
           half_of<Element>(input(j * 4 + k % 8 / 2, 4 + k / 8), k % 2);
  }
  return bits_as<uint32_t>(static_cast<float>(sum));
}

uint32_t copied(const Inputs& in, int thread, int output) {
  const int bytes = (thread % kThreads + output / 4 * 5) % 17 - output % 4 * 4;  // of this word
  const uint32_t mask = bytes >= 4 ? 0xffffffffu : bytes <= 0 ? 0 : (1u << (8 * bytes)) - 1;
  return in[static_cast<size_t>(thread * 12 + output)] & mask;
}

/// ex2.approx.ftz: subnormal inputs and results are zeros.
uint32_t power_of_two(const Inputs& in, int thread, int output) {
  const auto y =
      static_cast<float>(std::exp2(static_cast<double>(bits_as<float>(in[static_cast<size_t>(thread * 4 + output)]))));
  return bits_as<uint32_t>(std::fabs(y) < 0x1p-126f ? 0.0f : y);
}

/// rcp.approx.ftz, likewise.
uint32_t reciprocal(const Inputs& in, int thread, int output) {
  const float x = bits_as<float>(in[static_cast<size_t>(thread * 4 + output)]);
  const float y = 1 / (std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x);
  return bits_as<uint32_t>(std::fabs(y) < 0x1p-126f ? std::copysign(0.0f, y) : y);
}

/// Nearest, ties to even, by arithmetic: `bits` of significand, exponents from `least` to `most`.
double nearest(double x, int bits, int least, int most) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), least);
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, bits - 1 - exponent)), exponent - bits + 1);
  return std::fabs(rounded) >= std::ldexp(1.0, most + 1) ? std::copysign(INFINITY, x) : rounded;
}

template <class Element>
uint32_t packed(const Inputs& in, int thread, int) {
  constexpr bool kIsHalf = std::is_same_v<Element, Half>;
  const auto bits = [&](int which) -> uint32_t {
    const double x = bits_as<float>(in[static_cast<size_t>(thread * 2 + which)]);
    if (std::isnan(x)) return 0x7fffu;
    const double y = kIsHalf ? nearest(x, 11, -14, 15) : nearest(x, 8, -126, 127);
    if (!kIsHalf) return bits_as<uint32_t>(static_cast<float>(y)) >> 16;
    const uint32_t sign = std::signbit(y) ? 0x8000u : 0;
    if (std::isinf(y)) return sign | 0x7c00u;
    if (std::fabs(y) < 0x1p-14) return sign | static_cast<uint32_t>(std::ldexp(std::fabs(y), 24));
    const int exponent = std::ilogb(y);
    return sign | static_cast<uint32_t>(exponent + 15) << 10 |
           (static_cast<uint32_t>(std::ldexp(std::fabs(y), 10 - exponent)) & 0x3ffu);
  };
  return bits(0) | bits(1) << 16;
}

uint32_t counted(const Inputs& in, int thread, int) {
  if (thread == 0) return kThreads;
  if (thread == 2) return kThreads * (kThreads - 1) / 2;
  uint32_t most = 0;
  for (size_t i = 0; i < kThreads; ++i) most = std::max(most, in[i] % 1000);
  return thread == 1 ? most : 0;
}

template <class Element>
uint32_t unpacked(const Inputs& in, int thread, int output) {
  return bits_as<uint32_t>(static_cast<float>(half_of<Element>(in[static_cast<size_t>(thread)], output)));
}

uint32_t float_sum(const Inputs& in, int thread, int) {
  float sum = 0;
  for (size_t i = 0; i < kThreads; ++i) sum += static_cast<float>(in[i] % 1000);
  return thread == 0 ? bits_as<uint32_t>(sum) : 0;
}

const std::map<std::string, Expected> kExpected{
    {"indices", index},
    {"shuffle", shuffled},
    {"warp_any", warp_vote},
    {"sync_threads_or", block_vote},
    {"barriers", handed_over},
    {"ldmatrix_x4", [](const Inputs& in, int thread, int m) { return matrix_element(in, thread, m, false); }},
    {"ldmatrix_x4_transposed", [](const Inputs& in, int thread, int m) { return matrix_element(in, thread, m, true); }},
    {"mma_bf16", multiplied<BFloat16>},
    {"mma_f16", multiplied<Half>},
    {"cp_async_16", copied},
    {"exp2_approx", power_of_two},
    {"reciprocal_approx", reciprocal},
    {"pack_bf16", packed<BFloat16>},
    {"pack_f16", packed<Half>},
    {"unpack_bf16", unpacked<BFloat16>},
    {"unpack_f16", unpacked<Half>},
    {"float_sum", float_sum},
    {"atomics", counted},
};

TEST(Conformance, EveryWordDoesWhatTheTablesSay) {
  for (const Case& one : cases()) {
    const Expected& expected = kExpected.at(one.name.substr(0, one.name.find('/')));
    std::vector<uint32_t> outputs(one.outputs.size());
    const int each = static_cast<int>(outputs.size()) / kAll;
    for (int thread = 0; thread < kAll; ++thread) {
      for (int i = 0; i < each; ++i) outputs[static_cast<size_t>(thread * each + i)] = expected(one.inputs, thread, i);
    }
    EXPECT_EQ(difference(one, one.outputs, outputs), "");
  }
}

TEST(Conformance, ADifferenceIsFound) {
  std::vector<Case> changed = cases();
  const std::string golden = text_of(changed);
  EXPECT_TRUE(differences(changed, golden).empty());
  for (Case& one : changed) one.outputs[5] = ~one.outputs[5];
  EXPECT_EQ(differences(changed, golden).size(), changed.size());
  EXPECT_EQ(differences(cases(), "").size(), cases().size());
}

TEST(Conformance, AgreesWithWhatGpusGave) {
  const std::filesystem::path folder = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/golden";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("conformance_") || entry.path().extension() != ".txt") continue;
    ++files;
    std::stringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    for (const std::string& said : differences(cases(), text.str())) ADD_FAILURE() << name << ": " << said;
  }
  if (files == 0) GTEST_SKIP() << "no GPU has run the words yet: tests/golden has no conformance_*.txt";
}

}  // namespace
}  // namespace tessera::conformance
