// The memory-bound kernels of a training step at the sizes of a small transformer (16 sequences of 256 tokens, width
// 384), each beside a plain copy of the same bytes: what a kernel reaches of the copy's bytes_per_second is its
// efficiency.
//
//     build/release/benchmarks/row_kernels_benchmark            # OMP_NUM_THREADS sets the threads
#include <cstring>
#include <vector>

#include <benchmark/benchmark.h>

#include "kernels/common/parallel.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/dropout/dropout.h"
#include "kernels/elementwise/add.h"
#include "kernels/elementwise/gelu.h"
#include "kernels/elementwise/swiglu.h"
#include "kernels/embedding/embedding.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/reduce/sum.h"
#include "kernels/rotary/rotary.h"

namespace tessera {
namespace {

constexpr int64_t kRows = 4096, kWidth = 384, kHidden = 4 * kWidth, kVocabulary = 8192, kHeads = 6;

/// A matrix of small numbers.
class Matrix {
 public:
  Matrix(int64_t rows, int64_t width, DType dtype = DType::f32)
      : dtype_(dtype), rows_(rows), width_(width), bytes_(static_cast<size_t>(rows * width * size_of(dtype))) {
    if (dtype != DType::f32) return;  // zeros
    auto* values = reinterpret_cast<float*>(bytes_.data());
    for (int64_t i = 0; i < rows * width; ++i) values[i] = static_cast<float>(i % 1013) / 500.0f - 1.0f;
  }
  In<2> in() const { return {bytes_.data(), dtype_, {rows_, width_}, {width_, 1}}; }
  Out<2> out() { return {bytes_.data(), dtype_, {rows_, width_}, {width_, 1}}; }
  In<1> row() const { return {bytes_.data(), dtype_, {width_}, {1}}; }
  Out<1> row() { return {bytes_.data(), dtype_, {width_}, {1}}; }
  In<1> flat() const { return {bytes_.data(), dtype_, {rows_ * width_}, {1}}; }
  Out<1> flat() { return {bytes_.data(), dtype_, {rows_ * width_}, {1}}; }
  int64_t bytes() const { return static_cast<int64_t>(bytes_.size()); }
  std::byte* data() { return bytes_.data(); }

 private:
  DType dtype_;
  int64_t rows_, width_;
  std::vector<std::byte> bytes_;
};

template <class Kernel>
void measure(benchmark::State& state, const Kernel& kernel, int64_t bytes) {
  for (auto _ : state) kernel(Cpu{});
  state.SetBytesProcessed(state.iterations() * bytes);
}

void copy(benchmark::State& state) {
  Matrix x(kRows, kHidden), y(kRows, kHidden);
  for (auto _ : state) {
    parallel_chunks(x.bytes(), 4 * kElementGrain,
                    [&](int64_t begin, int64_t end) { std::memcpy(y.data() + begin, x.data() + begin, end - begin); });
  }
  state.SetBytesProcessed(state.iterations() * 2 * x.bytes());
}
BENCHMARK(copy)->UseRealTime();

void add(benchmark::State& state) {
  Matrix a(kRows, kHidden), b(kRows, kHidden), y(kRows, kHidden);
  const auto four = [](auto view) {
    return decltype(Add::a){view.data, view.dtype, {1, 1, 1, view.shape[0]}, {0, 0, 0, 1}};
  };
  const Out<4> result{y.out().data, DType::f32, {1, 1, 1, kRows * kHidden}, {0, 0, 0, 1}};
  measure(state, Add{.a = four(a.flat()), .b = four(b.flat()), .y = result}, 3 * a.bytes());
}
BENCHMARK(add)->UseRealTime();

void layer_norm_forward(benchmark::State& state) {
  const auto y_dtype = static_cast<DType>(state.range(0));
  Matrix x(kRows, kWidth), weight(1, kWidth), bias(1, kWidth), y(kRows, kWidth, y_dtype), mean(1, kRows),
      rstd(1, kRows);
  measure(state,
          LayerNormForward{.x = x.in(),
                           .residual = {},
                           .weight = std::as_const(weight).row(),
                           .bias = std::as_const(bias).row(),
                           .epsilon = 1e-5,
                           .sum = {},
                           .y = y.out(),
                           .mean = mean.row(),
                           .rstd = rstd.row()},
          x.bytes() + y.bytes());
}
BENCHMARK(layer_norm_forward)->Arg(int(DType::f32))->Arg(int(DType::bf16))->UseRealTime();

void layer_norm_backward(benchmark::State& state) {
  Matrix x(kRows, kWidth), weight(1, kWidth), dy(kRows, kWidth), dsum(kRows, kWidth), dx(kRows, kWidth);
  Matrix dweight(1, kWidth), dbias(1, kWidth), mean(1, kRows), rstd(1, kRows);
  measure(state,
          LayerNormBackward{.x = x.in(),
                            .weight = std::as_const(weight).row(),
                            .mean = std::as_const(mean).row(),
                            .rstd = std::as_const(rstd).row(),
                            .dy = dy.in(),
                            .dsum = dsum.in(),
                            .dx = dx.out(),
                            .dweight = dweight.row(),
                            .dweight_beta = 0,
                            .dbias = dbias.row(),
                            .dbias_beta = 0},
          4 * x.bytes());
}
BENCHMARK(layer_norm_backward)->UseRealTime();

void gelu(benchmark::State& state) {
  Matrix x(kRows, kHidden), y(kRows, kHidden);
  measure(state, Gelu{.x = std::as_const(x).flat(), .activation = Activation(state.range(0)), .y = y.flat()},
          2 * x.bytes());
}
BENCHMARK(gelu)->Arg(int(Activation::gelu_tanh))->Arg(int(Activation::gelu_exact))->UseRealTime();

void gelu_backward(benchmark::State& state) {
  Matrix x(kRows, kHidden), dy(kRows, kHidden), dx(kRows, kHidden);
  measure(state,
          GeluBackward{.x = std::as_const(x).flat(),
                       .dy = std::as_const(dy).flat(),
                       .activation = Activation(state.range(0)),
                       .dx = dx.flat()},
          3 * x.bytes());
}
BENCHMARK(gelu_backward)->Arg(int(Activation::gelu_tanh))->Arg(int(Activation::gelu_exact))->UseRealTime();

void swiglu_backward(benchmark::State& state) {
  Matrix gate_up(kRows, 2 * kHidden), dy(kRows, kHidden), d_gate_up(kRows, 2 * kHidden);
  measure(state, SwiGluBackward{.gate_up = gate_up.in(), .dy = dy.in(), .d_gate_up = d_gate_up.out()},
          2 * gate_up.bytes() + dy.bytes());
}
BENCHMARK(swiglu_backward)->UseRealTime();

void bias_gradient(benchmark::State& state) {
  Matrix dy(kRows, kHidden), db(1, kHidden);
  const In<3> x{dy.in().data, DType::f32, {1, kRows, kHidden}, {0, kHidden, 1}};
  measure(state, Sum{.x = x, .scale = 1, .beta = 0, .y = db.out()}, dy.bytes());
}
BENCHMARK(bias_gradient)->UseRealTime();

void cross_entropy_forward(benchmark::State& state) {
  Matrix logits(kRows / 4, kVocabulary), targets(1, kRows, DType::i32), loss(1, kRows), lse(1, kRows);
  int32_t status = 0;
  measure(state,
          CrossEntropyForward{.logits = logits.in(),
                              .targets = std::as_const(targets).row(),
                              .ignore_index = -1,
                              .loss = loss.row(),
                              .lse = lse.row(),
                              .status = &status},
          logits.bytes());
}
BENCHMARK(cross_entropy_forward)->UseRealTime();

void cross_entropy_backward_in_place(benchmark::State& state) {
  Matrix logits(kRows / 4, kVocabulary), targets(1, kRows, DType::i32), lse(1, kRows);
  measure(state,
          CrossEntropyBackward{.logits = logits.in(),
                               .targets = std::as_const(targets).row(),
                               .ignore_index = -1,
                               .lse = std::as_const(lse).row(),
                               .dloss = {},
                               .scale = 1,
                               .dlogits = logits.out()},
          2 * logits.bytes());
}
BENCHMARK(cross_entropy_backward_in_place)->UseRealTime();

void embedding_backward(benchmark::State& state) {
  Matrix dy(kRows, kWidth), ids(1, kRows, DType::i32), dtable(65, kWidth);
  for (int64_t i = 0; i < kRows; ++i) ids.row().as<int32_t>()[i] = static_cast<int32_t>(i * i % 65);
  measure(state, EmbeddingBackward{.dy = dy.in(), .ids = std::as_const(ids).row(), .dtable = dtable.out(), .beta = 0},
          dy.bytes());
}
BENCHMARK(embedding_backward)->UseRealTime();

void rotary(benchmark::State& state) {
  Matrix x(kRows, kWidth), y(kRows, kWidth);
  constexpr int64_t kLength = 256, kSize = kWidth / kHeads;
  const std::array<int64_t, 4> shape{kRows / kLength, kLength, kHeads, kSize};
  const std::array<int64_t, 4> strides{kLength * kWidth, kWidth, kSize, 1};
  measure(state,
          Rotary{.x = {x.in().data, DType::f32, shape, strides},
                 .positions = {},
                 .start = 0,
                 .base = 10000,
                 .direction = RotaryDirection::forward,
                 .y = {y.out().data, DType::f32, shape, strides}},
          2 * x.bytes());
}
BENCHMARK(rotary)->UseRealTime();

void dropout(benchmark::State& state) {
  Matrix x(kRows, kWidth), y(kRows, kWidth);
  measure(state, Dropout{.x = x.in(), .residual = {}, .p = 0.2f, .key = 1, .first_row = 0, .y = y.out()},
          2 * x.bytes());
}
BENCHMARK(dropout)->UseRealTime();

}  // namespace
}  // namespace tessera

BENCHMARK_MAIN();
