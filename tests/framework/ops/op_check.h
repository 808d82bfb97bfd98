// One call that puts a differentiable op through everything that every op must stand: its forward against a reference
// in double, its gradients against differences, strided inputs and gradients, and each narrower dtype against f64.
#pragma once

#include <cmath>
#include <functional>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "framework/autograd/gradcheck.h"
#include "framework/tensor/random.h"
#include "tests/support/devices.h"

namespace tessera {

using Op = std::function<Variable(std::span<const Variable>)>;

/// A float64 tensor of values in [low, high).
inline Tensor uniform(const Shape& shape, uint64_t key, double low = -1, double high = 1) {
  Tensor tensor = Tensor::empty(shape, DType::f64);
  fill_uniform(tensor, low, high, key);
  return tensor;
}

inline std::vector<double> doubles(const Tensor& tensor) { return tensor.to(DType::f64).to_vector<double>(); }

/// ‖actual − expected‖₂ / ‖expected‖₂.
inline double distance(const std::vector<double>& actual, const std::vector<double>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double difference = 0, length = 0;
  for (size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    length += expected[i] * expected[i];
  }
  return difference == 0 ? 0 : std::sqrt(difference / std::max(length, 1e-300));
}

/// The output of an op and the gradients of its inputs for one gradient of the output.
struct OpResult {
  Tensor y, dy;
  std::vector<Tensor> gradients;
};

/// Runs `op` forward and, from `seed` (undefined: fixed random numbers), backward.
inline OpResult run_op(const Op& op, std::span<const Tensor> inputs, const Pass::Options& options,
                       const Tensor& seed = {}) {
  const Pass pass = Pass::recording(options);
  std::vector<Variable> leaves;
  for (const Tensor& input : inputs) leaves.push_back(pass.leaf(input));
  const Variable y = op(leaves);
  OpResult result{.y = y.value(), .dy = seed, .gradients = {}};
  if (!seed.defined()) result.dy = random_normal(y.shape(), 17, DType::f64, y.value().device()).to(y.dtype());
  backward(y, result.dy);
  for (const Variable& leaf : leaves) {
    result.gradients.push_back(leaf.gradient().defined() ? leaf.gradient()
                                                         : Tensor::zeros(leaf.shape(), leaf.dtype(), leaf.device()));
  }
  return result;
}

/// The same elements with the first and the last axis exchanged in memory.
inline Tensor turned(const Tensor& x) {
  if (x.rank() < 2) return x;
  return x.transpose(0, -1).contiguous_copy().transpose(0, -1);
}

/// The same elements, followed by something else at the end of every row.
inline Tensor padded_rows(const Tensor& x) {
  if (x.rank() == 0) return x;
  const Tensor wide = Tensor::full(x.shape().with(-1, x.dim(-1) + 3), NAN, x.dtype(), x.device());
  wide.slice(-1, 0, x.dim(-1)).copy_from(x);
  return wide.slice(-1, 0, x.dim(-1));
}

/// The relative error that a result in `dtype` may have: `factor` times that of the exact one rounded once, or what
/// that rounding is expected to cost where few numbers had luck; of several roundings the squares add up. Nothing is
/// allowed where the exact result needs no rounding.
inline double allowed_error(const Tensor& exact, DType dtype, double factor, int roundings) {
  if (dtype == DType::f32) return 1e-6 * factor;
  const double spacing = dtype == DType::bf16 ? 0x1p-7 : 0x1p-10;  // of the numbers at 1
  const double once = distance(doubles(exact.to(dtype)), doubles(exact));
  return once == 0 ? 0 : factor * std::sqrt(roundings) * std::max(once, spacing / 5);
}

struct OpCheckOptions {
  Pass::Options pass = {};
  int roundings = 1;  ///< to 16 bit, one after the other, until a result is there
};

/// Runs everything at `inputs`, contiguous float64 tensors on the CPU, on the test device. `reference` is the forward
/// in plain double, row-major. In 16 bit the forward may have twice, a gradient three times the error of rounding.
inline void check_op(const Op& op, const std::vector<Tensor>& inputs, const std::vector<double>& reference,
                     const OpCheckOptions& check = {}) {
  const Pass::Options& options = check.pass;
  std::vector<Tensor> placed;
  for (const Tensor& input : inputs) placed.push_back(input.to(test_device()));
  const OpResult exact = run_op(op, placed, options);
  EXPECT_LE(distance(doubles(exact.y), reference), 1e-12) << "the forward is wrong";
  if (test_device().is_cpu()) {
    const GradcheckResult gradients = gradcheck(op, inputs, {.pass = options});
    EXPECT_TRUE(gradients.ok) << gradients.message;
  } else {
    const OpResult on_cpu = run_op(op, inputs, options, exact.dy.to(Device::cpu()));
    for (size_t i = 0; i < inputs.size(); ++i)
      EXPECT_LE(distance(doubles(exact.gradients[i]), doubles(on_cpu.gradients[i])), 1e-13)
          << "gradient of input " << i;
  }

  for (const auto& layout : {turned, padded_rows}) {
    std::vector<Tensor> strided;
    for (const Tensor& input : placed) strided.push_back(layout(input));
    const OpResult result = run_op(op, strided, options, layout(exact.dy));
    EXPECT_LE(distance(doubles(result.y), doubles(exact.y)), 1e-14) << "strides change the forward";
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_LE(distance(doubles(result.gradients[i]), doubles(exact.gradients[i])), 1e-13)
          << "strides change the gradient of input " << i;
    }
  }

  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    std::vector<Tensor> narrow, rounded;
    for (const Tensor& input : placed) narrow.push_back(input.to(dtype));
    for (const Tensor& input : narrow) rounded.push_back(input.to(DType::f64));
    const OpResult result = run_op(op, narrow, options);
    const OpResult wide = run_op(op, rounded, options, result.dy.to(DType::f64));
    EXPECT_LE(distance(doubles(result.y), doubles(wide.y)), allowed_error(wide.y, result.y.dtype(), 2, check.roundings))
        << "forward in " << name_of(dtype);
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_EQ(result.gradients[i].dtype(), dtype);
      EXPECT_LE(distance(doubles(result.gradients[i]), doubles(wide.gradients[i])),
                allowed_error(wide.gradients[i], dtype, 3, check.roundings))
          << "gradient of input " << i << " in " << name_of(dtype);
    }
  }
}

/// Expects `work` to throw an Error whose message contains `text`.
inline void expect_error(const std::function<void()>& work, const std::string& text) {
  try {
    work();
    ADD_FAILURE() << "no error; expected one that says: " << text;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

}  // namespace tessera
