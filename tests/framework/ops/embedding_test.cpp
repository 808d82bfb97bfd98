#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

const std::vector<int32_t> kIds{4, 0, 4, 2, 4, 1, 0, 0};

Variable ids(int64_t batch) { return Tensor::from(kIds, {batch, 8 / batch}); }

std::vector<double> looked_up(const Tensor& table, const Tensor& positions, int64_t start, int64_t length) {
  const std::vector<double> rows = doubles(table);
  const std::vector<double> places = positions.defined() ? doubles(positions) : std::vector<double>();
  const int64_t width = table.dim(1);
  std::vector<double> y;
  for (size_t r = 0; r < kIds.size(); ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const int64_t place = start + static_cast<int64_t>(r) % length;
      y.push_back(rows[static_cast<size_t>(kIds[r] * width + c)] +
                  (places.empty() ? 0 : places[static_cast<size_t>(place * width + c)]));
    }
  }
  return y;
}

TEST(EmbeddingOp, RowsOfTheTable) {
  const Tensor table = uniform({5, 3}, 1);
  check_op([](std::span<const Variable> v) { return ops::embedding(v[0], ids(2)); }, {table},
           looked_up(table, {}, 0, 4));
}

TEST(EmbeddingOp, PositionsAreAddedAndGetTheirGradient) {
  const Tensor table = uniform({5, 3}, 1), exact = uniform({4, 3}, 2), longer = uniform({7, 3}, 3);
  check_op([](std::span<const Variable> v) { return ops::embedding(v[0], ids(2), {.positions = v[1]}); },
           {table, exact}, looked_up(table, exact, 0, 4));
  check_op(
      [](std::span<const Variable> v) {
        return ops::embedding(v[0], ids(2), {.positions = v[1], .position_start = 2});
      },
      {table, longer}, looked_up(table, longer, 2, 4));
  check_op([](std::span<const Variable> v) { return ops::embedding(v[0], ids(8), {.positions = v[1]}); },
           {table, longer}, looked_up(table, longer, 0, 1));
}

// Tied weights: the table is the last projection too, so a gradient waits where the embedding adds its own.
TEST(EmbeddingOp, GradientsAddUp) {
  const Tensor table = uniform({5, 3}, 1), positions = uniform({6, 3}, 2);
  const Op op = [](std::span<const Variable> v) {
    const Variable once = ops::embedding(v[0], ids(2), {.positions = v[1]});
    const Variable again = ops::embedding(v[0], ids(2), {.positions = v[1], .position_start = 1});
    return ops::add(ops::mul(once, again), ops::mul(ops::sum(v[0]), ops::sum(v[1])));
  };
  const GradcheckResult result = gradcheck(op, std::vector{table, positions});
  EXPECT_TRUE(result.ok) << result.message;
}

TEST(EmbeddingOp, AnotherDtypeOut) {
  const Pass pass = Pass::recording({});
  const Variable table = pass.leaf(uniform({5, 3}, 1).to(DType::f32));
  const Variable y = ops::embedding(table, ids(2), {.dtype = DType::bf16});
  EXPECT_EQ(y.dtype(), DType::bf16);
  backward(y, Tensor::full(y.shape(), 1, DType::bf16));
  EXPECT_EQ(table.gradient().dtype(), DType::f32);
  EXPECT_EQ(doubles(table.gradient()), (std::vector<double>{3, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 3, 3, 3}));
}

TEST(EmbeddingOp, SaysWhatDoesNotFit) {
  const Variable table = uniform({4, 3}, 1);
  expect_error([&] { ops::embedding(table, ids(2)); },
               "embedding: token 4 of the batch is 4, outside the vocabulary of 4");
  expect_error(
      [&] {
        ops::embedding(table, Tensor::zeros({2, 2}, DType::i64));
      },
      "embedding: ids must be int32 [B, N]");
  expect_error(
      [&] {
        ops::embedding(table, ids(2), {.positions = uniform({3, 3}, 1)});
      },
      "embedding: 4 tokens starting at position 0 do not fit the 3 positions");
  expect_error(
      [&] {
        ops::embedding(table, ids(2), {.positions = uniform({9, 3}, 1), .position_start = -1});
      },
      "embedding: position_start is -1, but positions count from 0");
  expect_error(
      [&] {
        ops::embedding(table, ids(2), {.positions = uniform({9, 2}, 1)});
      },
      "do not fit the table [4, 3]");
}

}  // namespace
}  // namespace tessera
