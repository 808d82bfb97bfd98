// Ops that only look at memory in another way. Their backward looks at the gradient in the old way.
#include <numeric>

#include "framework/ops.h"
#include "kernels/elementwise/add.h"

namespace tessera::ops {

Variable reshape(const Variable& x, const Shape& shape) {
  return record(
      "reshape", x.value().reshape(shape),
      [shape = x.shape()](const Tensor& dy, GradientSlot dx) { dx.add(dy.reshape(shape)); }, x);
}

Variable transpose(const Variable& x, int axis0, int axis1) {
  return record(
      "transpose", x.value().transpose(axis0, axis1),
      [=](const Tensor& dy, GradientSlot dx) { dx.add(dy.transpose(axis0, axis1)); }, x);
}

namespace {

void check(const char* op, const Variable& x) {
  expect(x.rank() <= 4 || !x.wants_gradient(),
         "{}: gradients of tensors with {} axes are not supported; reshape to four", op, x.rank());
}

// Adds `dy` to the part [begin, begin + extent) of the gradient's axis `axis`.
void add_to_part(GradientSlot& slot, const Tensor& dy, int axis, int64_t begin) {
  const auto [whole, beta] = slot.target();
  if (beta == 0) whole.fill(0);
  const Tensor part = whole.slice(axis, begin, begin + dy.dim(axis));
  launch(Add{.a = part.in<4>(), .b = dy.in<4>(), .y = part.out<4>()}, exec_of(part.device()));
}

}  // namespace

Variable slice(const Variable& x, int axis, int64_t begin, int64_t end) {
  check("slice", x);
  return record(
      "slice", x.value().slice(axis, begin, end),
      [=](const Tensor& dy, GradientSlot dx) {
        if (dx.wanted()) add_to_part(dx, dy, axis, begin);
      },
      x);
}

namespace {

// The gradient of a whole from those of its three pieces: a view where they already lie side by side.
template <size_t Count>
void join_gradients(const std::array<Tensor, Count>& pieces, std::span<const int64_t> sizes, GradientSlot& dx) {
  const bool complete = std::all_of(pieces.begin(), pieces.end(), [](const Tensor& piece) { return piece.defined(); });
  if (complete) {
    if (const Tensor whole = joined_view(pieces, -1); whole.defined()) return dx.add(whole);
  }
  int64_t begin = 0;
  for (size_t i = 0; i < Count; ++i) {
    if (pieces[i].defined()) add_to_part(dx, pieces[i], pieces[i].rank() - 1, begin);
    begin += sizes[i];
  }
}

template <size_t Count>
std::vector<Variable> split_in(const Variable& x, std::span<const int64_t> sizes) {
  std::array<Tensor, Count> pieces;
  int64_t begin = 0;
  for (size_t i = 0; i < Count; ++i) {
    pieces[i] = x.value().slice(-1, begin, begin + sizes[i]);
    begin += sizes[i];
  }
  auto backward = [sizes = std::vector(sizes.begin(), sizes.end())](const std::array<Tensor, Count>& gradients,
                                                                    GradientSlot dx) {
    if (dx.wanted()) join_gradients(gradients, sizes, dx);
  };
  std::array<Variable, Count> parts = record_all<Count>("split", pieces, std::move(backward), x);
  return {std::make_move_iterator(parts.begin()), std::make_move_iterator(parts.end())};
}

}  // namespace

std::vector<Variable> split(const Variable& x, std::span<const int64_t> sizes) {
  check("split", x);
  expect(std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) == x.dim(-1),
         "split: the sizes do not add up to the last extent of {}", x.shape());
  if (sizes.size() == 2) return split_in<2>(x, sizes);
  if (sizes.size() == 3) return split_in<3>(x, sizes);
  fail("split: {} pieces were asked for; two or three are supported, use slice for more", sizes.size());
}

}  // namespace tessera::ops
