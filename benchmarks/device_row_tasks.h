// Kernels that treat a row as a whole: norms, sums, the loss, embeddings.
#pragma once

#include "benchmarks/device_tasks.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/embedding/embedding.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/normalize.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/reduce/arg_max.h"
#include "kernels/reduce/sum.h"

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

inline void add_loss(const Maker& make, int64_t vocabulary, std::vector<Task>& tasks) {
  const std::string type = " " + to_string(make.dtype()) + ", " + std::to_string(vocabulary);
  const int64_t rows = std::max<int64_t>(1, make.rows() * kWidth / vocabulary);
  const Tensor logits = Tensor::full({rows, vocabulary}, 0.5, make.dtype(), make.device());
  const Tensor gradient = Tensor::empty({rows, vocabulary}, make.dtype(), make.device());
  const Tensor targets = Tensor::zeros({rows}, DType::i32, make.device());
  const Tensor loss = make.vector(rows), lse = make.vector(rows);
  const Tensor status = Tensor::zeros({1}, DType::i32, make.device());
  tasks.push_back(task("cross entropy" + type, {logits, targets, loss, lse},
                       CrossEntropyForward{.logits = logits.in<2>(),
                                           .targets = targets.in<1>(),
                                           .ignore_index = -1,
                                           .loss = loss.out<1>(),
                                           .lse = lse.out<1>(),
                                           .status = status.data<int32_t>()}));
  keep(tasks, {status});
  tasks.push_back(task("cross entropy and gradient" + type, {logits, targets, loss, lse, gradient},
                       CrossEntropyForward{.logits = logits.in<2>(),
                                           .targets = targets.in<1>(),
                                           .ignore_index = -1,
                                           .loss = loss.out<1>(),
                                           .lse = lse.out<1>(),
                                           .status = status.data<int32_t>(),
                                           .dlogits = gradient.out<2>()}));
  keep(tasks, {status});
  tasks.push_back(task("cross entropy backward" + type, {logits, targets, lse, gradient},
                       CrossEntropyBackward{.logits = logits.in<2>(),
                                            .targets = targets.in<1>(),
                                            .ignore_index = -1,
                                            .lse = lse.in<1>(),
                                            .dloss = {},
                                            .scale = 1,
                                            .dlogits = gradient.out<2>()}));
}

/// Every id equally often, and in the backward half of the tokens the same one.
inline void add_embedding(const Maker& make, std::vector<Task>& tasks) {
  const std::string type = " " + to_string(make.dtype());
  const int64_t rows = make.rows();
  std::vector<int32_t> spread, frequent;
  for (int64_t r = 0; r < rows; ++r) {
    spread.push_back(static_cast<int32_t>(r * 7919 % rows));
    frequent.push_back(r % 2 == 0 ? 0 : spread.back());
  }
  const Tensor table = make.matrix(), y = make.matrix(), status = Tensor::zeros({1}, DType::i32, make.device());
  const Tensor ids = Tensor::from(spread, {rows}, make.device()), often = Tensor::from(frequent, {rows}, make.device());
  tasks.push_back(task("embedding" + type, {ids, table, y},
                       EmbeddingForward{.table = table.in<2>(),
                                        .ids = ids.in<1>(),
                                        .positions = {},
                                        .position_ids = {},
                                        .position_start = 0,
                                        .position_period = 1,
                                        .y = y.out<2>(),
                                        .status = status.data<int32_t>()}));
  keep(tasks, {status});
  const Tensor gradient = make.matrix(DType::f32);
  for (const Tensor& tokens : {ids, often}) {  // rows of dy are read once, those of the gradient read and written
    tasks.push_back(
        task("embedding backward" + type + (tokens.shares_memory_with(ids) ? "" : ", one id"),
             {tokens, y, gradient, gradient},
             EmbeddingBackward{.dy = y.in<2>(), .ids = tokens.in<1>(), .dtable = gradient.out<2>(), .beta = 1}));
  }
  tasks.back().bytes -= gradient.nbytes();  // half of the rows are not named
}

inline void add_reductions(const Maker& make, std::vector<Task>& tasks) {
  const std::string type = " " + to_string(make.dtype());
  const Tensor x = make.matrix(), columns = make.vector(kWidth), one = make.vector(1);
  const Tensor index = Tensor::zeros({make.rows()}, DType::i32, make.device());
  tasks.push_back(task("sum over rows" + type, {x},
                       Sum{.x = x.in<3>(), .scale = 1, .beta = 0, .y = columns.view({1, kWidth}).out<2>()}));
  keep(tasks, {columns});
  tasks.push_back(task("sum of all" + type, {x},
                       Sum{.x = x.view({1, -1, 1}).in<3>(), .scale = 1, .beta = 0, .y = one.view({1, 1}).out<2>()}));
  keep(tasks, {one});
  tasks.push_back(task("arg_max" + type, {x, index}, ArgMax{.x = x.in<2>(), .index = index.out<1>()}));
}

}  // namespace tessera
