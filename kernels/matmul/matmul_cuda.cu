// The product by cuBLASLt, which takes the bias and one tensor to add with it; what it cannot take is done by one more
// pass over the product.
#include "kernels/common/cuda/activation.cuh"
#include "kernels/common/cuda/elements.cuh"
#include "kernels/common/cuda/scratch.h"
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/product_cuda.h"
#include "kernels/memory/memory.h"

namespace tessera {
namespace {

struct EpilogueArguments {
  Elements<3> product;  ///< absent: 0
  Elements<1> bias;
  Elements<3> add;
  Activation activation;
  Elements<3> pre_activation, c;
  float beta;
};

template <class T>
__device__ T activate(Activation activation, T value) {
  if (activation == Activation::gelu_tanh) return GeluTanh::value(value);
  if (activation == Activation::gelu_exact) return GeluExact::value(value);
  return value;
}

template <class T>
__global__ void epilogue_kernel(const __grid_constant__ EpilogueArguments op) {
  const int64_t width = op.c.shape[2], pieces = (width + kVector - 1) / kVector, task = grid_thread();
  if (task >= op.c.shape[0] * op.c.shape[1] * pieces) return;
  const auto [line, piece] = divide(task, pieces);
  const auto [batch, row] = divide(line, op.c.shape[1]);
  const int64_t column = piece * kVector;
  const int n = run_length(width - column);
  const auto at = [&](const Elements<3>& x) { return batch * x.strides[0] + row * x.strides[1] + column; };
  T value[kVector] = {}, other[kVector] = {};
  if (op.product) load_run(op.product, at(op.product), n, value);
  if (op.bias) load_run(op.bias, column * op.bias.strides[0], n, other, op.bias.strides[0]);
#pragma unroll
  for (int k = 0; k < kVector; ++k) value[k] += other[k];
  if (op.pre_activation) store_run(op.pre_activation, at(op.pre_activation), n, value);
  if (op.activation != Activation::none) {
#pragma unroll
    for (int k = 0; k < kVector; ++k) value[k] = activate(op.activation, round_to(op.c.dtype, value[k]));
  }
  if (op.add) {
    load_run(op.add, at(op.add), n, other);
#pragma unroll
    for (int k = 0; k < kVector; ++k) value[k] += other[k];
  }
  if (op.beta != 0) {
    load_run(op.c, at(op.c), n, other);
#pragma unroll
    for (int k = 0; k < kVector; ++k) value[k] += static_cast<T>(op.beta) * other[k];
  }
  store_run(op.c, at(op.c), n, value);
}

In<3> read(const Out<3>& x) { return {x.data, x.dtype, x.shape, x.strides}; }

void launch_epilogue(const EpilogueArguments& op, Cuda cuda) {
  const int64_t tasks = op.c.shape[0] * op.c.shape[1] * pieces_of(op.c.shape[2], kVector);
  select_compute([&]<class T>() { launch_grid("matmul", epilogue_kernel<T>, cuda, {.x = pieces_of(tasks, 256)}, op); },
                 op.c.dtype);
}

void run_epilogue(const MatMul& op, Cuda cuda, const In<3>& product) {
  launch_epilogue({product, op.bias, op.add, op.activation, op.pre_activation, op.c, op.beta}, cuda);
}

/// Whether the lines of an operand lie one after the other, as cuBLASLt wants them.
bool lies_in_lines(const In<3>& x) {
  const auto steps_over = [&](int axis, int unit) {
    return (x.strides[unit] == 1 || x.shape[unit] == 1) && (x.shape[axis] == 1 || x.strides[axis] >= x.shape[unit]);
  };
  return steps_over(1, 2) || steps_over(2, 1);
}

/// An operand, or a copy of it where its rows overlap or run backwards.
class Operand {
 public:
  Operand(const In<3>& x, Cuda cuda)
      : copies_(!lies_in_lines(x)),
        scratch_(cuda, copies_ ? static_cast<size_t>(x.numel() * size_of(x.dtype)) : 0),
        view_(x) {
    if (!copies_) return;
    const int64_t rows = x.shape[1], columns = x.shape[2];
    const Copy copy{
        .x = {x.data, x.dtype, {1, 1, x.shape[0], rows, columns}, {0, 0, x.strides[0], x.strides[1], x.strides[2]}},
        .y = {scratch_.as<void>(), x.dtype, {1, 1, x.shape[0], rows, columns}, {0, 0, rows * columns, columns, 1}}};
    copy(cuda);
    view_ = {scratch_.as<void>(), x.dtype, x.shape, {rows * columns, columns, 1}};
  }
  const In<3>& view() const { return view_; }

 private:
  bool copies_;
  Scratch scratch_;
  In<3> view_;
};

bool bias_fits(const MatMul& op) { return !op.bias || (op.bias.dtype == op.c.dtype && op.bias.strides[0] == 1); }

/// c = a·b + bias + add, or + beta·c, in one call. False, with nothing done, where cuBLASLt cannot.
bool run_whole(const MatMul& op, Cuda cuda) {
  const bool add_fits = !op.add || (op.beta == 0 && op.add.dtype == op.c.dtype && op.add.strides[1] >= op.c.shape[2]);
  const DeviceProduct product{.a = op.a,
                              .b = op.b,
                              .bias = op.bias,
                              .base = op.add ? op.add : read(op.c),
                              .beta = op.add ? 1.0f : op.beta,
                              .epilogue = ProductEpilogue::none,
                              .aux = {},
                              .row_sum = {},
                              .c = op.c};
  return bias_fits(op) && add_fits && product.try_run(cuda);
}

/// c = activation(a·b + bias), p kept on the way: in one call where cuBLASLt has the activation, else p is written in
/// c's dtype and read again. False, with nothing done, where cuBLASLt cannot.
bool run_activated(const MatMul& op, Cuda cuda) {
  if (!bias_fits(op) || op.add || op.beta != 0) return false;
  DeviceProduct product{.a = op.a,
                        .b = op.b,
                        .bias = op.bias,
                        .base = {},
                        .beta = 0,
                        .epilogue = ProductEpilogue::gelu,
                        .aux = op.pre_activation,
                        .row_sum = {},
                        .c = op.c};
  if (op.activation == Activation::gelu_tanh && op.pre_activation && product.try_run(cuda)) return true;
  product.epilogue = ProductEpilogue::none;
  product.aux = {};
  product.c = op.pre_activation ? op.pre_activation : op.c;
  if (!product.try_run(cuda)) return false;
  launch_epilogue({read(product.c), In<1>{}, In<3>{}, op.activation, Out<3>{}, op.c, 0}, cuda);
  return true;
}

/// The bare product, then a pass for everything else.
void run_in_parts(const MatMul& op, Cuda cuda) {
  const DType dtype = op.c.dtype == DType::f64 ? DType::f64 : DType::f32;
  const Scratch scratch(cuda, static_cast<size_t>(op.c.numel() * size_of(dtype)));
  const int64_t m = op.c.shape[1], n = op.c.shape[2];
  const DeviceProduct product{.a = op.a,
                              .b = op.b,
                              .bias = {},
                              .base = {},
                              .beta = 0,
                              .epilogue = ProductEpilogue::none,
                              .aux = {},
                              .row_sum = {},
                              .c = {scratch.as<void>(), dtype, op.c.shape, {m * n, n, 1}}};
  product(cuda);
  run_epilogue(op, cuda, read(product.c));
}

}  // namespace

void MatMul::operator()(Cuda cuda) const {
  if (c.numel() == 0) return;
  if (a.shape[2] == 0) return run_epilogue(*this, cuda, In<3>{});
  const Operand left(a, cuda), right(b, cuda);
  MatMul op = *this;
  op.a = left.view(), op.b = right.view();
  const bool done = activation == Activation::none ? run_whole(op, cuda) : run_activated(op, cuda);
  if (!done) run_in_parts(op, cuda);
}

}  // namespace tessera
