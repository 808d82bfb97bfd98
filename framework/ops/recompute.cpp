// Trades time for memory: keeps a block's input, and runs the block again when its gradient is due (Chen et al.,
// "Training deep nets with sublinear memory cost", 2016). The second run draws the same random numbers.
#include "framework/ops.h"

namespace tessera::ops {

Variable recompute(const std::function<Variable(const Variable&)>& block, const Variable& x,
                   std::span<const ParameterPtr> owned) {
  const Pass& pass = x.pass();
  if (!pass.is_recording()) return block(x);
  const Variable y = block(Variable(x.value(), pass.without_tape(), nullptr));

  // The closure must not hold the tape that holds it.
  auto run = [block, bare = pass.without_tape(), x = x.value()](std::span<Tensor> gradients,
                                                                std::span<GradientSlot> slots) {
    const Pass pass = bare.with_new_tape();
    const Variable again = is_floating(x.dtype()) ? pass.leaf(x) : pass.input(x);  // token ids have no gradient
    const Variable y = block(again);
    if (!y.wants_gradient()) return;
    backward(y, gradients[0]);
    if (slots[0].wanted() && again.gradient().defined()) slots[0].add(again.gradient());
  };
  // The block's parameters are inputs of the node, so that their last contribution is known; it adds to them directly.
  std::vector<Variable> inputs{x};
  for (const ParameterPtr& parameter : owned) inputs.emplace_back(Parameter(parameter));
  std::vector<const Variable*> pointers;
  for (const Variable& input : inputs) pointers.push_back(&input);
  const Tensor outputs[] = {y.value()};
  return detail::record("recompute", outputs, pass, pointers, std::move(run))[0];
}

}  // namespace tessera::ops
