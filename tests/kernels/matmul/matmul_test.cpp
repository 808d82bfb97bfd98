#include "kernels/matmul/matmul.h"

#include <array>
#include <optional>

#include <gtest/gtest.h>

#include "tests/kernels/matmul/matmul_case.h"
#ifdef TESSERA_SIMT
#include "kernels/simt/cublaslt.h"
#endif

namespace tessera {
namespace {

using Case = MatMulCase;
using Problem = MatMulProblem;

TEST(MatMul, ShapesLayoutsAndDtypes) {
  const std::array<int64_t, 3> shapes[] = {{1, 1, 1},    {1, 64, 33},   {5, 1, 7},      {7, 13, 1},   {3, 65, 5},
                                           {33, 17, 65}, {100, 96, 41}, {129, 31, 203}, {65, 203, 1}, {40, 7, 130}};
  for (const auto& [dtype, c_dtype] : kDTypes)
    for (const auto& [m, k, n] : shapes)
      for (const int layout : {0, 1, 2, 3})
        check({.B = 1,
               .M = m,
               .K = k,
               .N = n,
               .dtype = dtype,
               .c_dtype = c_dtype,
               .a_transposed = layout % 2 == 1,
               .b_transposed = layout / 2 == 1,
               .padding = k % 3});
}

// Enough rows that the CPU cuts them into many panels, for which a bf16 b is rearranged once.
TEST(MatMul, ManyRowsShareTheRightHandSide) {
  for (const DType c_dtype : {DType::bf16, DType::f32}) {
    for (const int layout : {0, 1, 2, 3}) {
      check({.B = 1,
             .M = 803,
             .K = layout == 0 ? 64 : 37,
             .N = layout == 0 ? 48 : 65,
             .dtype = DType::bf16,
             .c_dtype = c_dtype,
             .b_transposed = layout % 2 == 1,
             .padding = layout / 2,
             .bias = DType::f32,
             .add = layout < 2 ? std::optional(DType::f32) : std::nullopt,
             .activation = layout == 3 ? Activation::gelu_tanh : Activation::none,
             .beta = layout == 2 ? 0.5f : 0.0f});
    }
  }
}

TEST(MatMul, BatchesAndSharedMatrices) {
  for (const auto& [dtype, c_dtype] : kDTypes) {
    for (const int64_t batches : {2, 5}) {
      for (const int layout : {0, 1, 2, 3, 4, 5, 6, 7}) {
        for (const int64_t m : {1, 37}) {
          check({.B = batches,
                 .M = m,
                 .K = 19,
                 .N = 23,
                 .dtype = dtype,
                 .c_dtype = c_dtype,
                 .a_transposed = layout % 2 == 1,
                 .b_transposed = layout / 2 % 2 == 1,
                 .b_shared = layout / 4 == 1,
                 .padding = layout == 4 ? 0 : 2});
        }
      }
    }
  }
}

TEST(MatMul, EverythingFusedInEveryDtype) {
  for (const auto& [dtype, c_dtype] : kDTypes) {
    for (const Activation activation : {Activation::none, Activation::gelu_tanh, Activation::gelu_exact}) {
      for (const float beta : {0.0f, 1.0f, 0.5f}) {
        for (const int fused : {0, 1, 2, 3, 5, 7}) {
          Case is{.B = 1,
                  .M = 41,
                  .K = 50,
                  .N = 60,
                  .dtype = dtype,
                  .c_dtype = c_dtype,
                  .b_transposed = true,
                  .padding = fused == 3 ? 5 : 0,
                  .activation = activation,
                  .beta = beta};
          if (fused & 1) is.bias = fused & 4 && dtype != DType::f64 ? DType::f32 : dtype;
          if (fused & 2) is.add = fused & 4 || dtype == DType::f64 ? c_dtype : DType::f32;
          is.keeps_pre_activation = activation != Activation::none && fused % 3 != 0;
          check(is);
        }
      }
    }
  }
}

TEST(MatMul, PanelsOfColumnsAndOfPackedColumns) {
  Case tall{.B = 1, .M = 33, .K = 3000, .N = 450, .b_transposed = true, .bias = DType::f32};
  check(tall);  // b is packed in several parts
  Case wide{.B = 1, .M = 3, .K = 600, .N = 500, .b_transposed = true};
  check(wide);  // the rows do not occupy all threads
  Case gradient{.B = 1, .M = 128, .K = 500, .N = 250, .a_transposed = true, .beta = 1};
  check(gradient);
}

TEST(MatMul, EmptyExtents) {
  check({.B = 1, .M = 0, .K = 3, .N = 4});
  check({.B = 1, .M = 3, .K = 3, .N = 0});
  check({.B = 0, .M = 3, .K = 3, .N = 2});
  for (const auto& [dtype, c_dtype] : kDTypes) {
    check({.B = 2, .M = 3, .K = 0, .N = 4, .dtype = dtype, .c_dtype = c_dtype});
    check({.B = 2,
           .M = 3,
           .K = 0,
           .N = 4,
           .dtype = dtype,
           .c_dtype = c_dtype,
           .bias = dtype,
           .activation = Activation::gelu_exact,
           .beta = 1});
  }
}

TEST(MatMul, RowsThatOverlapOrRunBackwards) {
  const Array a = Array::random(DType::f32, {1, 1, 40}, 1);
  const Array b = Array::random(DType::f32, {1, 20, 9}, 2);
  for (const int64_t stride : {0, 1, -1}) {  // one row for all; a sliding window; the same, backwards
    const In<3> windows{a.in<3>().as<float>() + (stride < 0 ? 9 : 0), DType::f32, {1, 10, 20}, {0, stride, 1}};
    Array c(DType::f32, {1, 10, 9});
    run_on_test_device(MatMul{.a = windows,
                              .b = b.in<3>(),
                              .bias = {},
                              .add = {},
                              .activation = Activation::none,
                              .pre_activation = {},
                              .c = c.out<3>(),
                              .beta = 0});
    for (int64_t m = 0; m < 10; ++m) {
      for (int64_t n = 0; n < 9; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < 20; ++k) sum += a[(stride < 0 ? 9 : 0) + stride * m + k] * b[k * 9 + n];
        ASSERT_NEAR(c[m * 9 + n], sum, 1e-5);
      }
    }
  }
}

// What a sampler's step looks like: libraries may have no product of one row or column that adds a bias.
TEST(MatMul, ABiasOfOneRowOrColumn) {
  for (const auto& [dtype, c_dtype] : kDTypes) {
    for (const auto& [m, k, n] : {std::array<int64_t, 3>{1, 40, 24}, {9, 40, 1}, {9, 1, 24}}) {
      for (const Activation activation : {Activation::none, Activation::gelu_tanh}) {
        check({.B = 1,
               .M = m,
               .K = k,
               .N = n,
               .dtype = dtype,
               .c_dtype = c_dtype,
               .b_transposed = true,
               .bias = c_dtype,
               .activation = activation,
               .keeps_pre_activation = activation != Activation::none});
      }
    }
  }
}

// A bias and a kept p that lie within larger memory start at no multiple of 16 bytes.
TEST(MatMul, ABiasAndAPreActivationAnywhere) {
  constexpr int64_t kRows = 8, kInner = 16, kColumns = 24;
  const Array a = Array::random(DType::f32, {1, kRows, kInner}, 1),
              b = Array::random(DType::f32, {1, kInner, kColumns}, 2);
  const Array bias = Array::random(DType::f32, {kColumns + 1}, 3);
  for (const int64_t shift : {0, 1}) {
    Array pre(DType::f32, {1, kRows, kColumns}, 8), c(DType::f32, {1, kRows, kColumns});
    Out<3> kept = pre.out<3>();
    kept.data = static_cast<float*>(kept.data) + shift;
    run_on_test_device(MatMul{.a = a.in<3>(),
                              .b = b.in<3>(),
                              .bias = {bias.in<1>().as<float>() + 1 - shift, DType::f32, {kColumns}, {1}},
                              .add = {},
                              .activation = Activation::gelu_tanh,
                              .pre_activation = kept,
                              .c = c.out<3>(),
                              .beta = 0});
    for (int64_t m = 0; m < kRows; ++m) {
      for (int64_t n = 0; n < kColumns; ++n) {
        double p = bias[n + 1 - shift];
        for (int64_t k = 0; k < kInner; ++k) p += a[m * kInner + k] * b[k * kColumns + n];
        ASSERT_NEAR(static_cast<const float*>(kept.data)[m * kept.strides[1] + n], p, 1e-5);
        ASSERT_NEAR(c[m * kColumns + n], activated(Activation::gelu_tanh, p), 1e-5);
      }
    }
  }
}

#ifdef TESSERA_SIMT
TEST(MatMul, AnAlgorithmIsSearchedForOnce) {
  if (test_device().is_cpu()) GTEST_SKIP() << "of the GPU";
  const Case is{.B = 1, .M = 11, .K = 24, .N = 48, .dtype = DType::bf16, .c_dtype = DType::bf16, .bias = DType::bf16};
  Case taller = is, transposed = is;
  ++taller.M;
  transposed.b_transposed = true;
  for (const Case& each : {is, taller, transposed}) {
    Problem problem(each), again(each);
    const int64_t before = simt::algorithm_searches();
    problem.run();
    EXPECT_EQ(simt::algorithm_searches(), before + 1);
    problem.run();
    again.run();
    EXPECT_EQ(simt::algorithm_searches(), before + 1);
  }
}
#endif

TEST(MatMul, SameBitsOnAnyNumberOfThreads) {
  for (const auto& [dtype, c_dtype] : kDTypes) {
    const Case is{.B = 1,
                  .M = 150,
                  .K = 60,
                  .N = 200,
                  .dtype = dtype,
                  .c_dtype = c_dtype,
                  .b_transposed = true,
                  .bias = dtype,
                  .activation = Activation::gelu_tanh};
    expect_same_on_any_threads([&] {
      Problem problem(is);
      problem.run();
      return problem.c.bytes();
    });
  }
}

}  // namespace
}  // namespace tessera
