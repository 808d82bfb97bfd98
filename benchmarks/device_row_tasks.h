// Kernels that treat a row as a whole, but norms: sums, the loss, embeddings.
#pragma once

#include "benchmarks/device_tasks.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/embedding/embedding.h"
#include "kernels/reduce/arg_max.h"
#include "kernels/reduce/sum.h"

namespace tessera {

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
