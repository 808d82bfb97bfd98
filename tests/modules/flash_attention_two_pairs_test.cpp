// FlashAttentionTwo with its options in pairs: in double against the definition, forward and every gradient; in f32 and
// with mixed precision against double.
#include <array>
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "kernels/common/philox.h"
#include "modules/flash_attention_two.h"
#include "tests/framework/ops/op_check.h"
#include "tests/modules/drawn_layer.h"
#include "tests/modules/plain_layer.h"
#include "tests/support/covering_array.h"

namespace tessera {
namespace {

/// The levels of each option and of what a call may add.
enum Option {
  kCausal,
  kWindow,
  kSoftcap,
  kAlibi,
  kRotary,
  kBias,
  kHeads,
  kHeadSize,
  kContext,
  kMask,
  kSegments,
  kDrop,
  kOutputDrop,
  kResidual,
  kBuckets,
  kType,
  kOptions
};
constexpr std::array<int, kOptions> kLevels{2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 2, 2, 2, 2, 2, 3};

constexpr int64_t kB = 2, kN = 7, kWindowSize = 3;
constexpr double kCap = 0.5;
// In f32, and with a core in bf16 and f16: twice and six times the largest rounding.
constexpr std::array kTolerances{1e-5, 2 * 0x1p-9, 2 * 0x1p-11}, kGradientTolerances{1e-5, 6 * 0x1p-9, 6 * 0x1p-11};
const Pass::Options kPass{.iteration = 4, .seed = 2, .first_sample = 3};

/// Numbers that f32 holds too.
Tensor drawn(const Shape& shape, uint64_t key) { return uniform(shape, key, -2, 2).to(DType::f32).to(DType::f64); }

FlashAttentionTwo::Options options_of(const Trial<kOptions>& trial) {
  const std::array<std::array<int64_t, 2>, 3> heads{{{2, 2}, {4, 2}, {3, 1}}};
  const std::array<int64_t, 3> sizes{4, 6, trial[kRotary] == 1 ? 10 : 5};  // rotary needs an even one
  FlashAttentionTwo::Options options{.heads = heads[trial[kHeads]][0],
                                     .dim_head = sizes[trial[kHeadSize]],
                                     .causal = trial[kCausal] == 1,
                                     .bias = trial[kBias] == 1,
                                     .kv_heads = heads[trial[kHeads]][1],
                                     .window = trial[kWindow] == 1 ? kWindowSize : 0,
                                     .softcap = trial[kSoftcap] == 1 ? kCap : 0,
                                     .alibi = trial[kAlibi] == 1,
                                     .rotary = trial[kRotary] == 1,
                                     .dropout = trial[kDrop] == 1 ? 0.25 : 0,
                                     .output_dropout = trial[kOutputDrop] == 1 ? 0.25 : 0};
  if (trial[kBuckets] == 1) options.q_bucket_size = 2, options.k_bucket_size = 3;
  return options;
}

/// One call of a layer: what goes in, and how much of what comes out is wanted.
struct LayerCall {
  std::vector<Tensor> inputs;  // x, then context and residual where there are any
  bool context, residual;
  Tensor mask{}, segments{};
  Tensor dy = drawn({kB, kN, kDim}, 5);

  LayerCall(const Trial<kOptions>& trial, uint64_t seed)
      : inputs{drawn({kB, kN, kDim}, seed)}, context(trial[kContext] > 0), residual(trial[kResidual] == 1) {
    std::mt19937 engine(static_cast<uint32_t>(seed));
    // Segments are those of x: with them a context is as long as x.
    const int64_t M = !context || trial[kSegments] == 1 ? kN : std::array{5, 9}[trial[kContext] - 1];
    if (context) inputs.push_back(drawn({kB, M, kDim}, seed + 100));
    if (residual) inputs.push_back(drawn({kB, kN, kDim}, seed + 200));
    const std::array<Shape, 3> masks{Shape{0}, Shape{kB, M}, Shape{1, options_of(trial).heads, kN, M}};
    if (trial[kMask] > 0) {
      mask = Tensor::empty(masks[trial[kMask]], DType::boolean);
      for (int64_t i = 0; i < mask.numel(); ++i) mask.data<bool>()[i] = engine() % 4 != 0;
    }
    if (trial[kSegments] == 1) segments = Tensor::from(std::vector{0, 0, 0, 1, 1, 2, 2, 4, 4, 4, 4, 4, 5, 5}, {kB, kN});
  }

  Variable operator()(const FlashAttentionTwo& layer, std::span<const Variable> v) const {
    FlashAttentionTwo::Call call{.mask = mask, .segments = segments};
    if (context) call.context = v[1];
    if (residual) call.residual = v.back();
    return layer(v[0], call);
  }
};

/// The call by its definition.
std::vector<double> plain(const FlashAttentionTwo& layer, const LayerCall& call) {
  const FlashAttentionTwo::Options& o = layer.options;
  const Pass pass = Pass::recording(kPass);
  const std::vector<double> slopes = doubles(alibi_slopes(o.heads));
  const auto sees = [&](const ScorePlace& at) {
    if (o.causal && at.j > at.p) return false;
    if (o.window > 0 && std::abs(at.p - at.j) >= o.window) return false;
    const auto* ids = call.segments.defined() ? call.segments.data<int32_t>() : nullptr;
    if (ids != nullptr && ids[at.b * kN + at.i] != ids[at.b * kN + at.j]) return false;
    if (!call.mask.defined()) return true;
    const int64_t M = call.mask.dim(-1);
    return call.mask.data<bool>()[(call.mask.rank() == 2 ? at.b : at.h * kN + at.i) * M + at.j];
  };
  const auto score = [&](const ScorePlace& at, double s) {
    if (o.softcap > 0) s = o.softcap * std::tanh(s / o.softcap);
    return o.alibi ? s - slopes[at.h] * static_cast<double>(std::abs(at.p - at.j)) : s;
  };
  const auto kept = [&](const ScorePlace& at) {
    const auto word = [](int64_t i) { return static_cast<uint32_t>(i); };
    const Words words = philox(pass.key(layer.dropout_site.hash),
                               {word(at.j / 4), word(at.i), word(at.h), word(at.b + kPass.first_sample)});
    const uint32_t drawn = std::array{words.x, words.y, words.z, words.w}[at.j % 4];
    return drawn < o.dropout * 0x1p32 ? 0 : 1 / (1 - o.dropout);
  };
  std::vector<double> y = plain_layer(layer, call.inputs[0], call.context ? call.inputs[1] : call.inputs[0],
                                      {.sees = sees, .score = score, .kept = kept});
  if (o.output_dropout > 0) {
    const Variable ones = pass.input(Tensor::full({kB, kN, kDim}, 1, DType::f64));
    const Variable factors = ops::dropout(ones, o.output_dropout, layer.output_dropout_site);
    for (size_t i = 0; i < y.size(); ++i) y[i] *= doubles(factors.value())[i];
  }
  for (size_t i = 0; call.residual && i < y.size(); ++i) y[i] += doubles(call.inputs.back())[i];
  return y;
}

/// What a layer makes of a call, by name: the result, and the gradients of the inputs and of the weights.
using Answer = std::vector<std::pair<std::string, std::vector<double>>>;

Answer answer(const FlashAttentionTwo& layer, const LayerCall& call, DType dtype, Device device) {
  std::vector<Tensor> inputs;
  for (const Tensor& input : call.inputs) inputs.push_back(input.to(dtype).to(device));
  const OpResult result =
      run_op([&](std::span<const Variable> v) { return call(layer, v); }, inputs, kPass, call.dy.to(dtype).to(device));
  Answer answer{{"y", doubles(result.y)}};
  for (const Tensor& gradient : result.gradients) {
    answer.emplace_back("input " + std::to_string(answer.size() - 1), doubles(gradient));
  }
  for (const ParameterPtr& parameter : parameters(layer)) {
    answer.emplace_back(parameter->name, doubles(parameter->gradient));
  }
  return answer;
}

double product(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Expects each gradient to give the slope of ⟨y, dy⟩ along a random direction.
void expect_slopes(const FlashAttentionTwo& layer, const LayerCall& call, const Answer& answer) {
  const auto evaluate = [&] {
    const Pass pass = Pass::recording(kPass).without_tape();
    std::vector<Variable> inputs;
    for (const Tensor& input : call.inputs) inputs.push_back(pass.input(input));
    return product(doubles(call(layer, inputs).value()), doubles(call.dy));
  };
  std::vector<Tensor> points = call.inputs;
  for (const ParameterPtr& parameter : parameters(layer)) points.push_back(parameter->value);
  for (size_t i = 0; i < points.size(); ++i) {
    const auto& [name, gradient] = answer[i + 1];
    const std::vector<double> before = doubles(points[i]), direction = doubles(uniform(points[i].shape(), 23));
    const auto at = [&](double step) {
      for (size_t e = 0; e < before.size(); ++e) points[i].data<double>()[e] = before[e] + step * direction[e];
      return evaluate();
    };
    const auto slope = [&](double h) { return (at(h) - at(-h)) / (2 * h); };
    const double expected = (4 * slope(1e-4) - slope(2e-4)) / 3, found = product(gradient, direction);
    at(0);
    EXPECT_NEAR(found, expected, 1e-9 + 1e-6 * std::abs(expected)) << name;
  }
}

/// The same layer in f32 on the test device.
FlashAttentionTwo narrowed(const FlashAttentionTwo& exact, int type) {
  FlashAttentionTwo::Options options = exact.options;
  options.mixed_precision = type > 0;
  options.mixed_precision_dtype = type == 2 ? DType::f16 : DType::bf16;
  FlashAttentionTwo layer(options);
  initialize(layer, {.device = test_device()});
  const auto from = parameters(exact), to = parameters(layer);
  for (size_t i = 0; i < to.size(); ++i) to[i]->value.copy_from(from[i]->value.to(DType::f32).to(test_device()));
  return layer;
}

TEST(FlashAttentionTwoPairs, OfOptions) {
  uint64_t seed = 0;
  for (const Trial<kOptions>& trial : covering_array(kLevels)) {
    SCOPED_TRACE("options " + testing::PrintToString(trial));
    FlashAttentionTwo exact = make(options_of(trial));
    for (const ParameterPtr& weight : parameters(exact)) {
      weight->value.copy_from(weight->value.to(DType::f32).to(DType::f64));
    }
    const LayerCall call(trial, ++seed);
    const Answer expected = answer(exact, call, DType::f64, Device::cpu());
    EXPECT_LE(distance(expected[0].second, plain(exact, call)), 1e-12);
    expect_slopes(exact, call, expected);

    const Answer found = answer(narrowed(exact, trial[kType]), call, DType::f32, test_device());
    for (size_t i = 0; i < found.size(); ++i) {
      const double tolerance = (i == 0 ? kTolerances : kGradientTolerances)[trial[kType]];
      EXPECT_LE(distance(found[i].second, expected[i].second), tolerance) << found[i].first;
    }
  }
}

// What the pairs leave out.
TEST(FlashAttentionTwoPairs, SegmentsNeedAContextAsLongAsX) {
  const Tensor x = drawn({kB, kN, kDim}, 1), ids = Tensor::zeros({kB, kN}, DType::i32);
  const FlashAttentionTwo layer = make({.heads = 2, .dim_head = 4});
  expect_error(
      [&] {
        layer(x, {.context = drawn({kB, 5, kDim}, 2), .segments = ids});
      },
      "q_segments, used for the keys too, must be int32 [2, 5]");
}

}  // namespace
}  // namespace tessera
