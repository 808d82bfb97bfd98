#include "framework/ops.h"

namespace tessera::ops {
namespace {

// The shape of the whole; says which part does not fit.
Shape joined_shape(std::span<const Variable> parts, int axis) {
  const Variable& first = parts.front();
  int64_t extent = 0;
  for (const Variable& part : parts) {
    expect(part.rank() == first.rank() && part.shape().with(axis, 0) == first.shape().with(axis, 0) &&
               part.dtype() == first.dtype() && part.device() == first.device(),
           "concat: {} {} and {} {} do not fit along axis {}; dtype, device and every other extent must agree",
           first.dtype(), first.shape(), part.dtype(), part.shape(), axis);
    extent += part.dim(axis);
  }
  return first.shape().with(axis, extent);
}

}  // namespace

Variable concat(std::span<const Variable> parts, int axis) {
  expect(!parts.empty(), "concat: there is nothing to join");
  const int rank = parts.front().rank();
  expect(axis >= -rank && axis < rank, "concat: {} has no axis {}", parts.front().shape(), axis);
  const Tensor y = Tensor::empty(joined_shape(parts, axis), parts.front().dtype(), parts.front().device());
  std::vector<const Variable*> inputs;
  std::vector<int64_t> borders{0};
  for (const Variable& part : parts) {
    inputs.push_back(&part);
    borders.push_back(borders.back() + part.dim(axis));
    y.slice(axis, borders[borders.size() - 2], borders.back()).copy_from(part.value());
  }
  const Pass pass = detail::common_pass("concat", inputs);
  if (!detail::must_record("concat", pass, inputs)) return detail::unrecorded(y, pass, inputs);
  auto backward = [borders, axis](std::span<Tensor> gradients, std::span<GradientSlot> slots) {
    for (size_t i = 0; i < slots.size(); ++i) slots[i].add(gradients[0].slice(axis, borders[i], borders[i + 1]));
  };
  return std::move(detail::record("concat", {{y}}, pass, inputs, std::move(backward)).front());
}

}  // namespace tessera::ops
