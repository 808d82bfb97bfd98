// A thread starts a panel with what is added to it, lets the library accumulate the product, and applies the rest while
// the panel is in its cache.
#include "kernels/matmul/panel.h"

#include <algorithm>

#include "kernels/common/activation_math.h"
#include "kernels/matmul/product.h"
#include "kernels/memory/memory.h"

namespace tessera {
namespace {

In<2> transposed(const In<2>& x) { return {x.data, x.dtype, {x.shape[1], x.shape[0]}, {x.strides[1], x.strides[0]}}; }

template <class T>
void add_to(T* sum, const T* values, T factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] += factor * values[i];
}

/// sum = bias, + add + beta·c where no activation comes between; false if there is none of them, sum is then as it was.
template <class T>
bool start(const Panel& panel, const Out<2>& sum) {
  const Out<2>& c = panel.c;
  const bool final = panel.activation == Activation::none;
  const bool adds = final && panel.add;
  const bool adds_c = final && panel.beta != 0;
  if (!panel.bias && !adds && !adds_c) return false;
  if (!panel.bias && !adds && sum.data == c.data && panel.beta == 1) return true;

  const auto [rows, columns] = sum.shape;
  T* buffer = workspace<T, 0>(2 * columns);
  const T* bias = panel.bias ? load_run(panel.bias, 0, columns, buffer) : nullptr;
  T* const other = buffer + columns;
  for (int64_t i = 0; i < rows; ++i) {
    T* to = sum.as<T>() + i * sum.strides[0];
    if (adds_c) {
      const T* old = load_run(read_only(c), i * c.strides[0], columns, other);
      for (int64_t j = 0; j < columns; ++j) to[j] = static_cast<T>(panel.beta) * old[j];
    }
    if (bias && adds_c) add_to(to, bias, T{1}, columns);
    if (bias && !adds_c) std::copy_n(bias, columns, to);
    if (!bias && !adds_c) std::fill_n(to, columns, T{0});
    if (adds) add_to(to, load_run(panel.add, i * panel.add.strides[0], columns, other), T{1}, columns);
  }
  return true;
}

/// c = activation(p) + add + beta·c, for the p that was rounded to c's dtype.
template <class T>
void finish(const Panel& panel, const In<2>& p) {
  const Out<2>& c = panel.c;
  const auto [rows, columns] = c.shape;
  T* const buffer = workspace<T, 0>(3 * columns);
  T* const other = buffer + 2 * columns;
  for (int64_t i = 0; i < rows; ++i) {
    const T* from = load_run(p, i * p.strides[0], columns, buffer);
    T* to = panel.beta == 0 ? target_run(c, i * c.strides[0], buffer + columns) : buffer + columns;
    if (panel.activation == Activation::gelu_tanh) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) to[j] = gelu_tanh(from[j]);
    } else {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) to[j] = gelu_exact(from[j]);
    }
    if (panel.add) add_to(to, load_run(panel.add, i * panel.add.strides[0], columns, other), T{1}, columns);
    if (panel.beta != 0) {
      const T* old = load_run(read_only(c), i * c.strides[0], columns, other);
      add_to(to, old, static_cast<T>(panel.beta), columns);
      convert_out(to, columns, address_of(c.data, c.dtype, i * c.strides[0]), c.dtype, 1);
    } else {
      store_run(to, c, i * c.strides[0], columns);
    }
  }
}

/// sum += a·b if it was started, else sum = a·b.
template <class T>
void multiply(const Panel& panel, const Out<2>& sum, bool started) {
  if (panel.a.shape[1] > 0) {
    const Product product{.a = panel.a, .b = panel.b, .c = sum, .accumulate = started};
    if constexpr (std::is_same_v<T, double>) multiply_f64(product);
    else multiply_f32(product);
  } else if (!started) {
    for (int64_t i = 0; i < sum.shape[0]; ++i) std::fill_n(sum.as<T>() + i * sum.strides[0], sum.shape[1], T{0});
  }
}

}  // namespace

template <class T>
bool is_plain(const In<2>& x) {
  if (x.dtype != dtype_of<T>()) return false;
  const bool rows = is_row_major(x) && (x.shape[0] == 1 || x.strides[0] >= x.shape[1]);
  const bool columns = is_row_major(transposed(x)) && (x.shape[1] == 1 || x.strides[1] >= x.shape[0]);
  return rows || columns;
}

template <class T>
In<2> pack(const In<2>& x, T* memory) {
  const auto [rows, columns] = x.shape;
  Copy{.x = {x.data, x.dtype, {1, 1, 1, rows, columns}, {0, 0, 0, x.strides[0], x.strides[1]}},
       .y = {memory, dtype_of<T>(), {1, 1, 1, rows, columns}, {0, 0, 0, columns, 1}}}(Cpu{});
  return {memory, dtype_of<T>(), {rows, columns}, {columns, 1}};
}

template <class T>
void run_panel(Panel panel) {
  const auto [rows, columns] = panel.c.shape;
  if (!is_plain<T>(panel.a)) {
    T* const memory = workspace<T, 1>(panel.a.numel());
    const bool turned = !is_row_major(panel.a);
    panel.a = turned ? transposed(pack(transposed(panel.a), memory)) : pack(panel.a, memory);
  }
  const bool activated = panel.activation != Activation::none;
  Out<2> p = panel.pre_activation ? panel.pre_activation : panel.c;
  if (activated && panel.beta != 0 && !panel.pre_activation)  // c is still needed
    p = {workspace<T, 2>(rows * columns), panel.c.dtype, {rows, columns}, {columns, 1}};

  const bool direct = p.dtype == dtype_of<T>();
  T* const memory = direct ? nullptr : workspace<T, 3>(rows * columns);
  const Out<2> sum = direct ? p : Out<2>{memory, dtype_of<T>(), {rows, columns}, {columns, 1}};
  multiply<T>(panel, sum, start<T>(panel, sum));
  if (!direct) {
    for (int64_t i = 0; i < rows; ++i)
      convert_out(memory + i * columns, columns, address_of(p.data, p.dtype, i * p.strides[0]), p.dtype, 1);
  }
  if (activated) finish<T>(panel, read_only(p));
}

template bool is_plain<float>(const In<2>&);
template bool is_plain<double>(const In<2>&);
template In<2> pack(const In<2>&, float*);
template In<2> pack(const In<2>&, double*);
template void run_panel<float>(Panel);
template void run_panel<double>(Panel);

}  // namespace tessera
