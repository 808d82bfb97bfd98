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
  const T* bias = panel.bias ? load_run(panel.bias, 0, columns, buffer, panel.bias.strides[0]) : nullptr;
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

/// y = activation(x) for n elements.
template <class T>
void activate(Activation activation, const T* x, T* y, int64_t n) {
  const auto each = [=](auto function) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = function(x[i]);
  };
  if (activation == Activation::gelu_tanh) each([](T v) { return gelu_tanh(v); });
  else each([](T v) { return gelu_exact(v); });
}

/// c = activation(p) + add + beta·c, for the p that was rounded to c's dtype; row `i` of it.
template <class T>
void finish_row(const Panel& panel, const In<2>& p, int64_t i, T* buffer) {
  const Out<2>& c = panel.c;
  const int64_t columns = c.shape[1];
  const int64_t offset = i * c.strides[0];
  T* const other = buffer + columns;
  T* const to = panel.beta == 0 ? target_run(c, offset, buffer) : buffer;
  activate(panel.activation, load_run(p, i * p.strides[0], columns, other), to, columns);
  if (panel.add) add_to(to, load_run(panel.add, i * panel.add.strides[0], columns, other), T{1}, columns);
  if (panel.beta == 0) return store_run(to, c, offset, columns);
  add_to(to, load_run(read_only(c), offset, columns, other), static_cast<T>(panel.beta), columns);
  convert_out(to, columns, address_of(c.data, c.dtype, offset), c.dtype, 1);
}

/// Multiplies row `i` of the product by the slopes.
template <class T>
void apply_slope(const Slope& slope, int64_t i, int64_t n, T* row, T* buffer) {
  const T* x = load_run(slope.pre, i * slope.pre.strides[0], n, buffer);
  T* y = slope.activated ? target_run(slope.activated, i * slope.activated.strides[0], buffer + n) : buffer + n;
  const auto each = [=](auto function, auto function_slope) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
      const T v = x[j];  // both functions share what they compute of it
      y[j] = function(v);
      row[j] *= function_slope(v);
    }
  };
  if (slope.activation == Activation::gelu_tanh)
    each([](T v) { return gelu_tanh(v); }, [](T v) { return gelu_tanh_slope(v); });
  else each([](T v) { return gelu_exact(v); }, [](T v) { return gelu_exact_slope(v); });
  if (slope.activated) store_run(y, slope.activated, i * slope.activated.strides[0], n);
}

/// sum += a·b if it was started, else sum = a·b.
template <class Factor>
void multiply(const Panel& panel, const Out<2>& sum, bool started) {
  const auto [rows, columns] = sum.shape;
  if (panel.a.shape[1] == 0) {
    for (int64_t i = 0; i < rows && !started; ++i)
      Fill{.y = {address_of(sum.data, sum.dtype, i * sum.strides[0]), sum.dtype, {columns}, {1}}, .value = 0}(Cpu{});
    return;
  }
  const Product product{.a = panel.a, .b = panel.b, .c = sum, .accumulate = started, .packed_b = panel.packed_b};
  if constexpr (std::is_same_v<Factor, double>) multiply_f64(product);
  else if constexpr (std::is_same_v<Factor, float>) multiply_f32(product);
  else multiply_bf16(product);
}

/// True where nothing is done to the product before it is rounded.
bool is_bare(const Panel& panel) {
  return !panel.bias && !panel.slope.pre && (panel.activation != Activation::none || (!panel.add && panel.beta == 0));
}

}  // namespace

template <class Factor>
bool is_plain(const In<2>& x) {
  if (x.dtype != dtype_of<Factor>()) return false;
  const bool rows = is_row_major(x) && (x.shape[0] == 1 || x.strides[0] >= x.shape[1]);
  const bool columns = is_row_major(transposed(x)) && (x.shape[1] == 1 || x.strides[1] >= x.shape[0]);
  return rows || columns;
}

template <class Factor>
In<2> pack(const In<2>& x, Factor* memory) {
  const auto [rows, columns] = x.shape;
  Copy{.x = {x.data, x.dtype, {1, 1, 1, rows, columns}, {0, 0, 0, x.strides[0], x.strides[1]}},
       .y = {memory, dtype_of<Factor>(), {1, 1, 1, rows, columns}, {0, 0, 0, columns, 1}}}(Cpu{});
  return {memory, dtype_of<Factor>(), {rows, columns}, {columns, 1}};
}

template <class Factor>
void run_panel(Panel panel) {
  using T = AccumulateType<dtype_of<Factor>()>;
  const auto [rows, columns] = panel.c.shape;
  if (!is_plain<Factor>(panel.a)) {
    Factor* const memory = workspace<Factor, 1>(panel.a.numel());
    const bool turned = !is_row_major(panel.a);
    panel.a = turned ? transposed(pack(transposed(panel.a), memory)) : pack(panel.a, memory);
  }
  const bool activated = panel.activation != Activation::none;
  Out<2> p = panel.pre_activation ? panel.pre_activation : panel.c;
  if (activated && panel.beta != 0 && !panel.pre_activation)  // c is still needed
    p = {workspace<T, 2>(rows * columns), panel.c.dtype, {rows, columns}, {columns, 1}};

  const bool direct = p.dtype == dtype_of<T>() || (p.dtype == dtype_of<Factor>() && is_bare(panel));
  T* const memory = direct ? nullptr : workspace<T, 3>(rows * columns);
  const Out<2> sum = direct ? p : Out<2>{memory, dtype_of<T>(), {rows, columns}, {columns, 1}};
  multiply<Factor>(panel, sum, start<T>(panel, sum));
  T* const buffer = workspace<T, 0>(2 * columns);
  for (int64_t i = 0; i < rows && (!direct || activated || panel.slope.pre); ++i) {
    if (panel.slope.pre) apply_slope(panel.slope, i, columns, sum.as<T>() + i * sum.strides[0], buffer);
    if (!direct) convert_out(memory + i * columns, columns, address_of(p.data, p.dtype, i * p.strides[0]), p.dtype, 1);
    if (activated) finish_row(panel, read_only(p), i, buffer);
  }
}

template bool is_plain<float>(const In<2>&);
template bool is_plain<double>(const In<2>&);
template bool is_plain<BFloat16>(const In<2>&);
template In<2> pack(const In<2>&, float*);
template In<2> pack(const In<2>&, double*);
template In<2> pack(const In<2>&, BFloat16*);
template void run_panel<float>(Panel);
template void run_panel<double>(Panel);
template void run_panel<BFloat16>(Panel);

}  // namespace tessera
