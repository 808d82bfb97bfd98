// Token and position rows, looked up and added in one pass.
#include "kernels/embedding/embedding.h"

#include "framework/ops.h"
#include "framework/ops/one_device.h"
#include "framework/ops/status_flag.h"
#include "kernels/reduce/sum.h"

namespace tessera::ops {
namespace {

void check(const Variable& table, const Variable& ids, const EmbeddingOptions& options) {
  expect(table.rank() == 2, "embedding: the table must be [V, C], not {}", table.shape());
  expect(ids.rank() == 2 && ids.dtype() == DType::i32, "embedding: ids must be int32 [B, N], not {} {}", ids.dtype(),
         ids.shape());
  if (!options.positions.defined()) return;
  expect_one_device("embedding", {&table, &options.positions});
  expect(options.positions.rank() == 2 && options.positions.dim(1) == table.dim(1),
         "embedding: positions {} do not fit the table {}", options.positions.shape(), table.shape());
  expect(options.position_start >= 0, "embedding: position_start is {}, but positions count from 0",
         options.position_start);
  expect(options.position_start + ids.dim(1) <= options.positions.dim(0),
         "embedding: {} tokens starting at position {} do not fit the {} positions that were trained", ids.dim(1),
         options.position_start, options.positions.dim(0));
}

void table_gradient(const Tensor& dy, const Tensor& ids, const Shape& shape, GradientSlot& slot) {
  // The kernel sums in f32 or f64; a gradient kept in 16 bit gets the rounded sum.
  const bool narrow = is_16bit_float(slot.dtype());
  const GradientTarget target =
      narrow ? GradientTarget{Tensor::empty(shape, DType::f32, dy.device()), 0} : slot.target();
  launch(EmbeddingBackward{.dy = dy.rows().in<2>(),
                           .ids = ids.view({-1}).in<1>(),
                           .dtable = target.tensor.out<2>(),
                           .beta = target.beta},
         exec_of(dy.device()));
  if (narrow) slot.add(target.tensor.to(slot.dtype()));
}

// Rows [start, start + N) of the position table get the sum over the batch.
void position_gradient(const Tensor& dy, int64_t start, GradientSlot& slot) {
  const auto [whole, beta] = slot.target();
  const int64_t n = dy.dim(1);
  if (beta == 0 && n < whole.dim(0)) whole.fill(0);
  const Tensor part = whole.slice(0, start, start + n).view({1, n * dy.dim(2)});
  launch(Sum{.x = dy.view({1, dy.dim(0), n * dy.dim(2)}).in<3>(),
             .scale = 1,
             .beta = n < whole.dim(0) ? 1.0f : beta,
             .y = part.out<2>()},
         exec_of(dy.device()));
}

}  // namespace

Variable embedding(const Variable& table, const Variable& ids, const EmbeddingOptions& options) {
  check(table, ids, options);
  const Tensor id_list = ids.value().to(table.device()).to_contiguous();
  const Tensor y =
      Tensor::empty({ids.dim(0), ids.dim(1), table.dim(1)}, options.dtype.value_or(table.dtype()), table.device());
  const StatusFlag status(table.device());
  launch(EmbeddingForward{.table = table.value().rows().in<2>(),
                          .ids = id_list.view({-1}).in<1>(),
                          .positions = options.positions.defined() ? options.positions.value().rows().in<2>() : In<2>{},
                          .position_ids = {},
                          .position_start = options.position_start,
                          .position_period = ids.dim(1),
                          .y = y.rows().out<2>(),
                          .status = status.pointer()},
         exec_of(y.device()));
  if (y.device().is_cpu() && status.bad_row() >= 0) {
    fail("embedding: token {} of the batch is {}, outside the vocabulary of {}", status.bad_row(),
         id_list.view({-1}).slice(0, status.bad_row(), status.bad_row() + 1).item(), table.dim(0));
  }

  auto backward = [id_list, shape = table.shape(), start = options.position_start](
                      const Tensor& gradient, GradientSlot dtable, GradientSlot, GradientSlot dpositions) {
    const Tensor dy = gradient.to_contiguous();
    if (dtable.wanted()) table_gradient(dy, id_list, shape, dtable);
    if (dpositions.wanted()) position_gradient(dy, start, dpositions);
  };
  return record("embedding", y, std::move(backward), table, ids, options.positions);
}

}  // namespace tessera::ops
