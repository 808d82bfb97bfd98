// Norms of rows.
#pragma once

#include "benchmarks/device_tasks.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/normalize.h"
#include "kernels/norm/rms_norm.h"

namespace tessera {

/// A norm of rows of any width. The narrow dtype is what a norm emits, its input is the residual stream.
inline void add_layer_norm(const Maker& make, int64_t width, DType stream, std::vector<Task>& tasks) {
  const int64_t rows = make.rows() * kWidth / width;
  const auto matrix = [&](DType dtype) { return Tensor::full({rows, width}, 0.5, dtype, make.device()); };
  const std::string type = " " + to_string(stream) + " to " + to_string(make.dtype()) + ", " + std::to_string(width);
  const Tensor x = matrix(make.dtype()), residual = matrix(stream), sum = matrix(stream), y = matrix(make.dtype());
  const Tensor weight = make.vector(width), bias = make.vector(width), mean = make.vector(rows),
               rstd = make.vector(rows), dweight = make.vector(width), dbias = make.vector(width);
  tasks.push_back(task("layer norm" + type, {x, residual, sum, y, mean, rstd, weight, bias},
                       LayerNormForward{.x = x.in<2>(),
                                        .residual = residual.in<2>(),
                                        .weight = weight.in<1>(),
                                        .bias = bias.in<1>(),
                                        .epsilon = 1e-5,
                                        .sum = sum.out<2>(),
                                        .y = y.out<2>(),
                                        .mean = mean.out<1>(),
                                        .rstd = rstd.out<1>()}));
  tasks.push_back(task("layer norm backward" + type, {sum, y, residual, residual, mean, rstd, weight, dweight, dbias},
                       LayerNormBackward{.x = sum.in<2>(),
                                         .weight = weight.in<1>(),
                                         .mean = mean.in<1>(),
                                         .rstd = rstd.in<1>(),
                                         .dy = y.in<2>(),
                                         .dsum = residual.in<2>(),
                                         .dx = residual.out<2>(),
                                         .dweight = dweight.out<1>(),
                                         .dweight_beta = 0,
                                         .dbias = dbias.out<1>(),
                                         .dbias_beta = 0}));
}

inline void add_rms_norm(const Maker& make, std::vector<Task>& tasks) {
  const std::string type = " " + to_string(make.dtype());
  const Tensor x = make.matrix(), y = make.matrix(), dx = make.matrix();
  const Tensor weight = make.vector(kWidth), rstd = make.vector(make.rows()), dweight = make.vector(kWidth);
  tasks.push_back(task("rms norm" + type, {x, y, rstd, weight},
                       RmsNormForward{.x = x.in<2>(),
                                      .residual = {},
                                      .weight = weight.in<1>(),
                                      .epsilon = 1e-5,
                                      .sum = {},
                                      .y = y.out<2>(),
                                      .rstd = rstd.out<1>()}));
  tasks.push_back(task("rms norm backward" + type, {x, y, dx, rstd, weight, dweight},
                       RmsNormBackward{.x = x.in<2>(),
                                       .weight = weight.in<1>(),
                                       .rstd = rstd.in<1>(),
                                       .dy = y.in<2>(),
                                       .dsum = {},
                                       .dx = dx.out<2>(),
                                       .dweight = dweight.out<1>(),
                                       .dweight_beta = 0}));
  tasks.push_back(task(
      "normalize" + type, {x, y, rstd, weight},
      Normalize{
          .x = x.in<2>(), .mean = {}, .rstd = rstd.in<1>(), .weight = weight.in<1>(), .bias = {}, .y = y.out<2>()}));
}

inline void add_norms(const Maker& make, std::vector<Task>& tasks) {
  for (const int64_t width : {int64_t{768}, kWidth, int64_t{1600}, int64_t{4096}})
    add_layer_norm(make, width, DType::f32, tasks);
  if (make.dtype() != DType::f32) add_layer_norm(make, kWidth, make.dtype(), tasks);
  add_rms_norm(make, tasks);
}

}  // namespace tessera
