// Softmax cross-entropy. What backward keeps is the logits, and it turns them into their gradient in place if nobody
// else holds them: no second tensor of that size exists.
#include "kernels/cross_entropy/cross_entropy.h"

#include "framework/ops.h"
#include "framework/ops/status_flag.h"
#include "kernels/reduce/sum.h"

namespace tessera::ops {
namespace {

double count_targets(const Tensor& targets, int32_t ignore_index) {
  const std::vector<int32_t> ids = targets.to_vector<int32_t>();
  return static_cast<double>(ids.size()) - static_cast<double>(std::count(ids.begin(), ids.end(), ignore_index));
}

}  // namespace

Variable cross_entropy(const Variable& logits, const Tensor& targets, const CrossEntropyOptions& options) {
  expect(
      logits.rank() >= 1 && targets.dtype() == DType::i32 && targets.numel() * logits.dim(-1) == logits.value().numel(),
      "cross_entropy: logits {} and {} targets {} do not fit; targets are int32, one per row of logits", logits.shape(),
      targets.dtype(), targets.shape());
  const Tensor x = logits.value().rows();
  const Tensor ids = targets.to_contiguous().view({-1});
  const DType dtype = accumulate_dtype(x.dtype());
  const Tensor row_loss = Tensor::empty({x.dim(0)}, dtype, x.device());
  const Tensor lse = Tensor::empty({x.dim(0)}, dtype, x.device());
  const StatusFlag status(x.device());
  launch(CrossEntropyForward{.logits = x.in<2>(),
                             .targets = ids.in<1>(),
                             .ignore_index = options.ignore_index,
                             .loss = row_loss.out<1>(),
                             .lse = lse.out<1>(),
                             .status = status.pointer()},
         exec_of(x.device()));
  if (x.device().is_cpu() && status.bad_row() >= 0) {
    fail("cross_entropy: target {} is {}, outside the vocabulary of {}", status.bad_row(),
         ids.slice(0, status.bad_row(), status.bad_row() + 1).item(), x.dim(1));
  }
  const double count = options.denominator > 0 ? options.denominator : count_targets(ids, options.ignore_index);
  const double scale = count > 0 ? 1 / count : 0;
  const Tensor loss = Tensor::empty({}, dtype, x.device());
  launch(Sum{.x = row_loss.view({1, -1, 1}).in<3>(), .scale = scale, .beta = 0, .y = loss.out<2>()},
         exec_of(x.device()));

  auto backward = [x, ids, lse, scale, ignore = options.ignore_index, shape = logits.shape()](const Tensor& dloss,
                                                                                              GradientSlot dlogits) {
    if (!dlogits.wanted()) return;
    const Tensor dx = x.unique() ? x : empty_like(x);
    launch(CrossEntropyBackward{.logits = x.in<2>(),
                                .targets = ids.in<1>(),
                                .ignore_index = ignore,
                                .lse = lse.in<1>(),
                                .dloss = dloss.in<0>(),
                                .scale = scale,
                                .dlogits = dx.out<2>()},
           exec_of(x.device()));
    dlogits.add(dx.view(shape));
  };
  return record("cross_entropy", loss, std::move(backward), logits);
}

}  // namespace tessera::ops
