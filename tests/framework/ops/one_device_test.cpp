#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

// Each call has one input on the CPU, and would read it as if it lay on the device.
TEST(OneDevice, AnInputOnAnotherDeviceIsRefused) {
  if (test_device().is_cpu()) GTEST_SKIP() << "there is no second device";
  const auto here = [](const Shape& shape) { return Tensor::zeros(shape, DType::f32, test_device()); };
  const auto there = [](const Shape& shape) { return Tensor::zeros(shape, DType::f32); };
  const auto refused = [](const char* op, const std::function<void()>& call) {
    expect_error(call, std::string(op) + ": one input is on " + to_string(test_device()) + ", another on cpu");
  };
  const Tensor x = here({2, 3, 4}), vector = here({4});
  refused("layer_norm", [&] { ops::layer_norm(x, there({4}), vector); });
  refused("layer_norm", [&] { ops::layer_norm(x, vector, there({4})); });
  refused("rms_norm", [&] { ops::rms_norm(x, there({4})); });
  refused("add_layer_norm", [&] { ops::add_layer_norm(x, there({2, 3, 4}), vector, vector); });
  refused("add_rms_norm", [&] { ops::add_rms_norm(x, there({2, 3, 4}), vector); });
  refused("linear", [&] { ops::linear(x, there({5, 4})); });
  refused("linear", [&] { ops::linear(x, here({5, 4}), there({5})); });
  refused("linear", [&] { ops::linear(x, here({5, 4}), {}, {.residual = there({2, 3, 5})}); });
  refused("joint_linear", [&] { ops::joint_linear(x, here({5, 4}), here({5, 4}), here({5}), there({5})); });
  refused("dropout", [&] { ops::dropout(Pass::recording({}).input(x), 0.5, Site{}, there({2, 3, 4})); });
  refused("add", [&] { ops::add(x, there({4})); });
  refused("matmul", [&] { ops::matmul(x, there({4, 5})); });
  const Tensor ids = Tensor::zeros({2, 3}, DType::i32);
  refused("embedding", [&] { ops::embedding(here({7, 4}), ids, {.positions = there({3, 4})}); });
  const Tensor q = here({1, 3, 2, 4});
  refused("flash_attention", [&] { ops::flash_attention(q, q, there({1, 3, 2, 4})); });
}

}  // namespace
}  // namespace tessera
