// Layer norm and RMS norm, alone or with the residual added first. Backward keeps the input and its statistics; the
// output is recomputed from them where a consumer needs it.
#include "framework/ops.h"
#include "framework/ops/one_device.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/normalize.h"
#include "kernels/norm/rms_norm.h"

namespace tessera::ops {
namespace {

enum class Kind { layer, rms };

// What one call computes with, all as rows; undefined where absent.
struct Norm {
  Kind kind;
  double epsilon;
  Tensor x;  // what is normalised, or where `normalized` is set the result of that, before weight and bias
  Tensor weight;
  Tensor bias;
  Tensor mean;
  Tensor rstd;
  bool normalized = false;
};

void check(const char* op, const Variable& x, const Variable& weight, const Variable& bias,
           const Variable& residual = {}) {
  expect(x.rank() >= 1 && is_floating(x.dtype()), "{}: x must be a floating tensor [..., C], not {} {}", op, x.dtype(),
         x.shape());
  for (const Variable* vector : {&weight, &bias}) {
    expect(!vector->defined() || vector->shape() == Shape{x.dim(-1)}, "{}: x is {}, but weight or bias is {}", op,
           x.shape(), vector->shape());
  }
  expect_one_device(op, {&x, &weight, &bias, &residual});
}

void forward(const Norm& norm, const Tensor& x, const Tensor& residual, const Tensor& sum, const Tensor& y) {
  const Exec exec = exec_of(y.device());
  if (norm.kind == Kind::layer) {
    launch(LayerNormForward{.x = x.in<2>(),
                            .residual = residual.in<2>(),
                            .weight = norm.weight.in<1>(),
                            .bias = norm.bias.in<1>(),
                            .epsilon = norm.epsilon,
                            .sum = sum.out<2>(),
                            .y = y.out<2>(),
                            .mean = norm.mean.out<1>(),
                            .rstd = norm.rstd.out<1>()},
           exec);
  } else {
    launch(RmsNormForward{.x = x.in<2>(),
                          .residual = residual.in<2>(),
                          .weight = norm.weight.in<1>(),
                          .epsilon = norm.epsilon,
                          .sum = sum.out<2>(),
                          .y = y.out<2>(),
                          .rstd = norm.rstd.out<1>()},
           exec);
  }
}

GradientTarget target_or_none(GradientSlot& slot) { return slot.wanted() ? slot.target() : GradientTarget{}; }

void backward(const Norm& norm, const Tensor& dy, const Tensor& dsum, const Tensor& dx, GradientSlot& weight,
              GradientSlot& bias) {
  const Exec exec = exec_of(dy.device());
  const GradientTarget dweight = target_or_none(weight);
  const GradientTarget dbias = target_or_none(bias);
  if (norm.kind == Kind::layer) {
    launch(LayerNormBackward{.x = norm.x.in<2>(),
                             .weight = norm.weight.in<1>(),
                             .mean = norm.mean.in<1>(),
                             .rstd = norm.rstd.in<1>(),
                             .dy = dy.in<2>(),
                             .dsum = dsum.in<2>(),
                             .dx = dx.out<2>(),
                             .dweight = dweight.tensor.out<1>(),
                             .dweight_beta = dweight.beta,
                             .dbias = dbias.tensor.out<1>(),
                             .dbias_beta = dbias.beta,
                             .normalized = norm.normalized},
           exec);
  } else {
    launch(RmsNormBackward{.x = norm.x.in<2>(),
                           .weight = norm.weight.in<1>(),
                           .rstd = norm.rstd.in<1>(),
                           .dy = dy.in<2>(),
                           .dsum = dsum.in<2>(),
                           .dx = dx.out<2>(),
                           .dweight = dweight.tensor.out<1>(),
                           .dweight_beta = dweight.beta,
                           .normalized = norm.normalized},
           exec);
  }
}

Tensor normalized_again(const Norm& norm, const Shape& shape, DType dtype) {
  Tensor y = Tensor::empty(shape, dtype, norm.x.device());
  launch(Normalize{.x = norm.x.in<2>(),
                   .mean = norm.normalized ? In<1>{} : norm.mean.in<1>(),
                   .rstd = norm.normalized ? In<1>{} : norm.rstd.in<1>(),
                   .weight = norm.weight.in<1>(),
                   .bias = norm.bias.in<1>(),
                   .y = y.rows().out<2>()},
         exec_of(y.device()));
  return y;
}

Norm make_norm(Kind kind, const Tensor& rows, const Variable& weight, const Variable& bias, double epsilon) {
  const DType statistics = accumulate_dtype(rows.dtype());
  const Shape per_row{rows.dim(0)};
  return {.kind = kind,
          .epsilon = epsilon,
          .x = rows,
          .weight = weight.value(),
          .bias = bias.value(),
          .mean = kind == Kind::layer ? Tensor::empty(per_row, statistics, rows.device()) : Tensor(),
          .rstd = Tensor::empty(per_row, statistics, rows.device())};
}

// Backward could do with the wide x; this keeps what is normalised instead, which is half as large and, unlike x
// itself, never too large for float16. The result is computed from the rounded numbers, so that it can be recomputed.
Tensor normalize_into_16bit(Norm& norm, const Shape& shape, DType dtype) {
  const Tensor kept = Tensor::empty(norm.x.shape(), dtype, norm.x.device());
  Norm bare = norm;
  bare.weight = bare.bias = Tensor();
  forward(bare, norm.x, {}, {}, kept);
  norm.x = kept;
  norm.mean = Tensor();
  norm.normalized = true;
  return normalized_again(norm, shape, dtype);
}

Variable plain(const char* op, Kind kind, const Variable& x, const Variable& weight, const Variable& bias,
               const NormOptions& options) {
  check(op, x, weight, bias);
  const DType dtype = options.dtype.value_or(x.dtype());
  Norm norm = make_norm(kind, x.value().rows(), weight, bias, options.epsilon);
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  if (is_16bit_float(dtype) && !is_16bit_float(x.dtype())) {
    y = normalize_into_16bit(norm, x.shape(), dtype);
  } else {
    forward(norm, norm.x, {}, {}, y.rows());
  }

  // A gradient that already waits at x is added in the same pass.
  auto run = [norm](const Tensor& dy, GradientSlot dx, GradientSlot dweight, GradientSlot dbias) {
    if (!dx.wanted()) return backward(norm, dy.rows(), {}, empty_like(norm.x), dweight, dbias);
    const auto [out, beta] = dx.target();
    backward(norm, dy.rows(), beta == 0 ? Tensor() : out.rows(), out.rows(), dweight, dbias);
  };
  return record(op, y, std::move(run), x, weight, bias).recomputed_by([norm, shape = x.shape(), dtype] {
    return normalized_again(norm, shape, dtype);
  });
}

std::array<Variable, 2> with_residual(const char* op, Kind kind, const Variable& x, const Variable& residual,
                                      const Variable& weight, const Variable& bias, const NormOptions& options) {
  check(op, x, weight, bias, residual);
  expect(x.shape() == residual.shape(), "{}: x is {}, the residual {}", op, x.shape(), residual.shape());
  const DType dtype = options.dtype.value_or(x.dtype());
  const Tensor sum = empty_like(residual.value());
  const Norm norm = make_norm(kind, sum.rows(), weight, bias, options.epsilon);
  const Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  forward(norm, x.value().rows(), residual.value().rows(), norm.x, y.rows());

  auto run = [norm, shape = x.shape(), dtype = x.dtype()](const std::array<Tensor, 2>& gradients, GradientSlot dx,
                                                          GradientSlot dresidual, GradientSlot dweight,
                                                          GradientSlot dbias) {
    const auto& [dsum, dy] = gradients;
    Tensor ds = dsum;
    if (dy.defined()) {
      ds = Tensor::empty(shape, norm.x.dtype(), norm.x.device());
      backward(norm, dy.rows(), dsum.defined() ? dsum.rows() : Tensor(), ds.rows(), dweight, dbias);
    }
    dresidual.add(ds);
    dx.add(ds.to(dtype));
  };
  std::array<Variable, 2> outputs = record_all<2>(op, {sum, y}, std::move(run), x, residual, weight, bias);
  outputs[1] = std::move(outputs[1]).recomputed_by([norm, shape = x.shape(), dtype] {
    return normalized_again(norm, shape, dtype);
  });
  return outputs;
}

}  // namespace

Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, const NormOptions& options) {
  return plain("layer_norm", Kind::layer, x, weight, bias, options);
}

Variable rms_norm(const Variable& x, const Variable& weight, const NormOptions& options) {
  return plain("rms_norm", Kind::rms, x, weight, {}, options);
}

std::array<Variable, 2> add_layer_norm(const Variable& x, const Variable& residual, const Variable& weight,
                                       const Variable& bias, const NormOptions& options) {
  return with_residual("add_layer_norm", Kind::layer, x, residual, weight, bias, options);
}

std::array<Variable, 2> add_rms_norm(const Variable& x, const Variable& residual, const Variable& weight,
                                     const NormOptions& options) {
  return with_residual("add_rms_norm", Kind::rms, x, residual, weight, {}, options);
}

}  // namespace tessera::ops
