#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

const Site kSite{.hash = 42};

TEST(Dropout, EveryDtypeAndItsGradient) {
  const Tensor x = uniform({2, 3, 9}, 1, 1, 2), residual = uniform({2, 3, 9}, 2);
  const Pass::Options options{.iteration = 3, .seed = 5};
  const Op op = [](std::span<const Variable> v) { return ops::dropout(v[0], 0.375, kSite); };
  const Op with_residual = [](std::span<const Variable> v) { return ops::dropout(v[0], 0.375, kSite, v[1]); };
  // The mask is the kernel's business; here an element is either gone or multiplied by 1 / (1 − p).
  const std::vector<double> y = doubles(run_op(op, std::vector{x}, options).y), before = doubles(x);
  std::vector<double> expected = before;
  int dropped = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    dropped += y[i] == 0;
    expected[i] = y[i] == 0 ? 0 : before[i] / (1 - 0.375);
  }
  EXPECT_GT(dropped, 10);
  EXPECT_LT(dropped, 35);
  check_op(op, {x}, expected, {.pass = options});
  for (size_t i = 0; i < y.size(); ++i) expected[i] += doubles(residual)[i];
  check_op(with_residual, {x, residual}, expected, {.pass = options});
}

std::vector<double> dropped(const Tensor& x, const Pass::Options& options, const Site& site = kSite) {
  return doubles(ops::dropout(Pass::recording(options).input(x), 0.5, site).value());
}

TEST(Dropout, KeyedBySeedIterationSiteAndGlobalSample) {
  const Tensor x = Tensor::full({4, 3, 20}, 1, DType::f32);
  const std::vector<double> whole = dropped(x, {.iteration = 1, .seed = 2});
  EXPECT_EQ(dropped(x, {.iteration = 1, .seed = 2}), whole);
  EXPECT_NE(dropped(x, {.iteration = 2, .seed = 2}), whole);
  EXPECT_NE(dropped(x, {.iteration = 1, .seed = 3}), whole);
  EXPECT_NE(dropped(x, {.iteration = 1, .seed = 2}, Site{.hash = 43}), whole);
  const std::vector<double> second_rank = dropped(x.slice(0, 3, 4), {.iteration = 1, .seed = 2, .first_sample = 3});
  EXPECT_EQ(second_rank, std::vector<double>(whole.begin() + 3 * 60, whole.end()));
}

TEST(Dropout, OffInInferenceAndAtZero) {
  const Tensor x = uniform({2, 8}, 1), residual = uniform({2, 8}, 2);
  EXPECT_EQ(doubles(ops::dropout(Pass::inference().input(x), 0.5, kSite).value()), doubles(x));
  EXPECT_EQ(doubles(ops::dropout(Pass::recording({}).input(x), 0, kSite).value()), doubles(x));
  EXPECT_EQ(doubles(ops::dropout(Pass::inference().input(x), 0.5, kSite, residual).value()),
            doubles(ops::add(x, residual).value()));
  expect_error([&] { ops::dropout(x, 1, kSite); }, "dropout: the probability must lie in [0, 1), not 1");
  expect_error([&] { ops::dropout(x, 0.1, kSite, Tensor::zeros({8}, DType::f32)); },
               "dropout: x is [2, 8], the residual [8]");
}

}  // namespace
}  // namespace tessera
