#include "kernels/embedding/embedding.h"

#include <gtest/gtest.h>

#include "tests/kernels/array.h"

namespace tessera {
namespace {

struct Types {
  DType table, positions, y;
};

class Embedding : public testing::TestWithParam<Types> {};

TEST_P(Embedding, TokenAndPositionRows) {
  const auto [table_type, position_type, y_type] = GetParam();
  const int64_t rows = 60, width = 333, period = 12, start = 5;
  const Array table = Array::random(table_type, {41, width}, 1, -1, 1, 2);
  const Array positions = Array::random(position_type, {start + period, width}, 2);
  const Array ids = Array::random(DType::i32, {rows}, 3, 0, 41);
  const Array position_ids = Array::random(DType::i32, {rows}, 4, 0, static_cast<double>(start + period));
  Managed<int32_t> status;
  const auto run = [&](const In<2>& second, const In<1>& second_ids) {
    Array y(y_type, {rows, width}, 3);
    run_on_test_device(EmbeddingForward{.table = table.in<2>(),
                                        .ids = ids.in<1>(),
                                        .positions = second,
                                        .position_ids = second_ids,
                                        .position_start = start,
                                        .position_period = period,
                                        .y = y.out<2>(),
                                        .status = status.get()});
    return y;
  };
  const Array plain = run({}, {}), counted = run(positions.in<2>(), {});
  const Array chosen = run(positions.in<2>(), position_ids.in<1>());
  std::vector<double> plain_expected, counted_expected, chosen_expected;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const double token = table[static_cast<int64_t>(ids[r]) * width + c];
      plain_expected.push_back(token);
      counted_expected.push_back(token + positions[(start + r % period) * width + c]);
      chosen_expected.push_back(token + positions[static_cast<int64_t>(position_ids[r]) * width + c]);
    }
  }
  const double unit = 1.01 * rounding_unit(y_type), absolute = y_type == DType::f64 ? 0 : 1e-7;
  expect_close(plain, plain_expected, unit, absolute);
  expect_close(counted, counted_expected, unit, absolute);
  expect_close(chosen, chosen_expected, unit, absolute);
  EXPECT_EQ(*status, 0);
}

std::string name_of_types(const testing::TestParamInfo<Types>& info) {
  return to_string(info.param.table) + "_" + to_string(info.param.positions) + "_" + to_string(info.param.y);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Embedding,
                         testing::Values(Types{DType::f32, DType::f32, DType::f32},
                                         Types{DType::f32, DType::f32, DType::bf16},
                                         Types{DType::bf16, DType::f32, DType::f32},
                                         Types{DType::f16, DType::f16, DType::f16},
                                         Types{DType::f64, DType::f64, DType::f64}),
                         name_of_types);

TEST(EmbeddingForward, ReportsTheLastBadId) {
  const Array table = Array::random(DType::f32, {5, 3}, 1), positions = Array::random(DType::f32, {4, 3}, 2);
  const auto status_of = [&](const std::vector<double>& ids, const std::vector<double>& position_ids) {
    const Array tokens = Array::of(DType::i32, {4}, ids), places = Array::of(DType::i32, {4}, position_ids);
    Array y(DType::f32, {4, 3});
    Managed<int32_t> status;
    run_on_test_device(EmbeddingForward{.table = table.in<2>(),
                                        .ids = tokens.in<1>(),
                                        .positions = positions.in<2>(),
                                        .position_ids = places.in<1>(),
                                        .position_start = 0,
                                        .position_period = 4,
                                        .y = y.out<2>(),
                                        .status = status.get()});
    for (int64_t c = 0; c < 3 && *status > 0; ++c) EXPECT_EQ(y[(*status - 1) * 3 + c], 0);
    return *status;
  };
  EXPECT_EQ(status_of({0, 4, 0, 0}, {0, 3, 0, 0}), 0);
  EXPECT_EQ(status_of({5, 0, 5, 0}, {0, 0, 0, 0}), 3);
  EXPECT_EQ(status_of({0, -1, 0, 0}, {0, 0, 0, 0}), 2);
  EXPECT_EQ(status_of({0, 0, 0, 0}, {0, 0, 0, 4}), 4);
}

// Runs of one id that end at, before and behind the borders of the pieces in which a GPU sums them; tables of one row.
TEST(EmbeddingBackward, RunsOfAnyLength) {
  for (const auto& [rows, vocabulary, width] :
       std::vector<std::array<int64_t, 3>>{{1, 3, 5}, {16, 1, 8}, {17, 2, 9}, {257, 1, 3}, {530, 40, 1030}}) {
    const Array dy = Array::random(DType::f32, {rows, width}, 1);
    for (const int64_t run : {1, 2, 15, 16, 17, 33, 300}) {
      SCOPED_TRACE(format_message("{} rows of {}, runs of {}", {rows, width, run}));
      Array ids(DType::i32, {rows}), dtable(DType::f32, {vocabulary, width}, 3);
      std::vector<double> expected(vocabulary * width);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t id = r / run % (vocabulary + 1);  // the last is outside
        ids.set(r, static_cast<double>(id));
        for (int64_t c = 0; c < width && id < vocabulary; ++c) expected[id * width + c] += dy[r * width + c];
      }
      run_on_test_device(EmbeddingBackward{.dy = dy.in<2>(), .ids = ids.in<1>(), .dtable = dtable.out<2>(), .beta = 0});
      expect_close(dtable, expected, 0x1p-20, 0x1p-16);
    }
  }
}

TEST(EmbeddingBackward, SumsRowsInOrderOnAnyThreads) {
  const int64_t rows = 3000, width = 200, vocabulary = 90;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    const Array dy = Array::random(dtype, {rows, width}, 1, -1, 1, 4);
    Array ids = Array::random(DType::i32, {rows}, 2, 0, 70);  // rows 70 … 89 of the table are never named
    for (int64_t r = 0; r < rows; r += 2) ids.set(r, 7);      // one is named very often
    ids.set(11, -100);
    ids.set(13, 1000);
    const DType type = accumulate_dtype(dtype);
    const Array before = Array::random(type, {vocabulary, width}, 3);
    std::vector<double> sum(vocabulary * width);
    for (int64_t r = 0; r < rows; ++r) {
      if (ids[r] < 0 || ids[r] >= vocabulary) continue;
      for (int64_t c = 0; c < width; ++c) sum[static_cast<int64_t>(ids[r]) * width + c] += dy[r * width + c];
    }
    for (const float beta : {0.0f, 1.0f}) {
      Array dtable = before;
      expect_same_on_any_threads([&] {
        dtable = before;
        if (beta == 0) dtable.set(0, NAN);  // must be written, not read
        run_on_test_device(
            EmbeddingBackward{.dy = dy.in<2>(), .ids = ids.in<1>(), .dtable = dtable.out<2>(), .beta = beta});
        return dtable.bytes();
      });
      std::vector<double> expected = sum;
      for (int64_t i = 0; i < before.numel() && beta == 1; ++i) expected[i] += before[i];
      expect_close(dtable, expected, 8 * rounding_unit(type), 2000 * rounding_unit(type));
    }
  }
}

}  // namespace
}  // namespace tessera
