// One product of matrices: its sizes, options and data, an independent answer in double precision by plain loops, and
// the comparison of the kernel's answer with it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/matmul/matmul.h"
#include "tests/kernels/array.h"

namespace tessera {

struct MatMulCase {
  int64_t B, M, K, N;
  DType dtype = DType::f32;  ///< of a and b
  DType c_dtype = DType::f32;
  bool a_transposed = false, b_transposed = false, b_shared = false;
  int64_t padding = 0;
  std::optional<DType> bias = {}, add = {};
  Activation activation = Activation::none;
  bool keeps_pre_activation = false;
  float beta = 0;
};

/// The operands of a case, its result, and what the result should be.
struct MatMulProblem {
  MatMulCase is;
  Array a, b, bias, add, pre, c;
  std::vector<double> expected, expected_pre;

  explicit MatMulProblem(const MatMulCase& from);

  void run();

  /// The error of K products and their sums, and of rounding to c.
  void check();

 private:
  using Shape = std::vector<int64_t>;

  Shape b_shape() const;
  void compute_expected();
};

/// Runs the product and compares.
void check(const MatMulCase& is);

/// What an activation makes of x.
double activated(Activation activation, double x);

/// c's dtypes for operands of each dtype.
inline constexpr std::array<std::array<DType, 2>, 6> kDTypes = {{{DType::f32, DType::f32},
                                                                 {DType::f64, DType::f64},
                                                                 {DType::f16, DType::f16},
                                                                 {DType::f16, DType::f32},
                                                                 {DType::bf16, DType::bf16},
                                                                 {DType::bf16, DType::f32}}};

}  // namespace tessera
