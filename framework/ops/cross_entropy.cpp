// Softmax cross-entropy. Logits that an op made and nobody else holds become their gradient in place while the loss is
// computed, so that they are read once; what backward() will start from is known to the pass. Other logits are kept for
// backward.
#include "kernels/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <utility>

#include "framework/ops.h"
#include "framework/ops/status_flag.h"
#include "kernels/reduce/sum.h"

namespace tessera::ops {
namespace {

double count_targets(const Tensor& targets, int32_t ignore_index) {
  const std::vector<int32_t> ids = targets.to_vector<int32_t>();
  return static_cast<double>(ids.size()) - static_cast<double>(std::count(ids.begin(), ids.end(), ignore_index));
}

/// The op's inputs, checked and made flat, and where its results go.
struct Call {
  Tensor x, ids, row_loss, lse;
  int32_t ignore_index;
  double scale;

  CrossEntropyForward forward(const StatusFlag& status) const {
    return {.logits = x.in<2>(),
            .targets = ids.in<1>(),
            .ignore_index = ignore_index,
            .loss = row_loss.out<1>(),
            .lse = lse.out<1>(),
            .status = status.pointer()};
  }
};

// Targets have the shape of the logits without their last axis, or are flat.
bool one_per_row(const Tensor& targets, const Tensor& logits) {
  const Shape& shape = logits.shape();
  if (targets.numel() * shape[-1] != logits.numel()) return false;
  return targets.rank() == 1 ||
         std::equal(targets.shape().begin(), targets.shape().end(), shape.begin(), shape.end() - 1);
}

Call make_call(const Variable& logits, const Tensor& targets, const CrossEntropyOptions& options) {
  expect(logits.rank() >= 1 && targets.dtype() == DType::i32 && one_per_row(targets, logits.value()),
         "cross_entropy: logits {} and {} targets {} do not fit; targets are int32, one per row of logits",
         logits.shape(), targets.dtype(), targets.shape());
  const Tensor x = logits.value().rows(), ids = targets.to(x.device()).to_contiguous().view({-1});
  const DType dtype = accumulate_dtype(x.dtype());
  const double count = options.denominator > 0 ? options.denominator : count_targets(ids, options.ignore_index);
  return {.x = x,
          .ids = ids,
          .row_loss = Tensor::empty({x.dim(0)}, dtype, x.device()),
          .lse = Tensor::empty({x.dim(0)}, dtype, x.device()),
          .ignore_index = options.ignore_index,
          .scale = count > 0 ? 1 / count : 0};
}

// float16 has no room for a gradient whose scale is not known yet, an observer shows the logits to somebody, and those
// that no op made are the caller's.
bool becomes_gradient(const Variable& logits, const Tensor& x) {
  const Pass& pass = logits.pass();
  const bool made_by_op = logits.slot() != nullptr && !logits.slot()->leaf;
  return pass.is_recording() && made_by_op && !pass.observer() && x.unique(2) && x.contiguous() &&
         (x.dtype() != DType::f16 || pass.options().loss_scale.defined());
}

Tensor sum_rows(const Call& call) {
  Tensor loss = Tensor::empty({}, call.row_loss.dtype(), call.x.device());
  launch(Sum{.x = call.row_loss.view({1, -1, 1}).in<3>(), .scale = call.scale, .beta = 0, .y = loss.out<2>()},
         exec_of(loss.device()));
  return loss;
}

void check(const Call& call, const StatusFlag& status) {
  if (!call.x.device().is_cpu() || status.bad_row() < 0) return;
  fail("cross_entropy: target {} is {}, outside the vocabulary of {}", status.bad_row(),
       call.ids.slice(0, status.bad_row(), status.bad_row() + 1).item(), call.x.dim(1));
}

Variable with_gradient_now(const Variable& logits, const Call& call) {
  const StatusFlag status(call.x.device());
  const Tensor expected = logits.pass().options().loss_scale;
  CrossEntropyForward forward = call.forward(status);
  forward.dloss = expected.in<0>();
  forward.scale = call.scale;
  forward.dlogits = call.x.out<2>();
  launch(forward, exec_of(call.x.device()));
  check(call, status);
  auto backward = [dx = call.x, expected, shape = logits.shape()](const Tensor& dloss, GradientSlot dlogits) {
    launch(CrossEntropyCorrection{.expected = expected.in<0>(), .arriving = dloss.in<0>(), .dlogits = dx.out<2>()},
           exec_of(dx.device()));
    dlogits.add(dx.view(shape));
  };
  return record("cross_entropy", sum_rows(call), std::move(backward), logits);
}

Variable with_gradient_later(const Variable& logits, const Call& call) {
  const StatusFlag status(call.x.device());
  launch(call.forward(status), exec_of(call.x.device()));
  check(call, status);
  auto backward = [call, shape = logits.shape()](const Tensor& dloss, GradientSlot dlogits) {
    if (!dlogits.wanted()) return;
    const Tensor dx = call.x.unique() ? call.x : empty_like(call.x);
    launch(CrossEntropyBackward{.logits = call.x.in<2>(),
                                .targets = call.ids.in<1>(),
                                .ignore_index = call.ignore_index,
                                .lse = call.lse.in<1>(),
                                .dloss = dloss.in<0>(),
                                .scale = call.scale,
                                .dlogits = dx.out<2>()},
           exec_of(dx.device()));
    dlogits.add(dx.view(shape));
  };
  return record("cross_entropy", sum_rows(call), std::move(backward), logits);
}

}  // namespace

Variable cross_entropy(Variable logits, const Tensor& targets, const CrossEntropyOptions& options) {
  const Variable own = std::move(logits);  // by value, so that a caller who keeps the logits is one more holder
  const Call call = make_call(own, targets, options);
  return becomes_gradient(own, call.x) ? with_gradient_now(own, call) : with_gradient_later(own, call);
}

}  // namespace tessera::ops
