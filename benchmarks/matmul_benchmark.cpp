// Matrix products of a linear layer, forward and backward, at the sizes of two small transformers: GFLOP/s, and the
// share of the peak that the same threads reach on fused multiply-adds, measured before each line.
//
//     matmul_benchmark --benchmark_filter=nano/.*/f32
#include <chrono>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <omp.h>

#include "kernels/common/peak.h"
#include "kernels/matmul/matmul.h"
#include "kernels/memory/memory.h"

namespace tessera {
namespace {

/// A linear layer: x [rows, in], weight [out, in].
struct Layer {
  const char* model;
  int64_t rows, out, in;
};

constexpr Layer kLayers[] = {
    {"nano", 768, 128, 128},  {"nano", 768, 384, 128},  {"nano", 768, 512, 128},  {"nano", 768, 128, 512},
    {"nano", 768, 65, 128},   {"mid", 4096, 384, 384},  {"mid", 4096, 1152, 384}, {"mid", 4096, 1536, 384},
    {"mid", 4096, 384, 1536}, {"decode", 1, 3072, 768}, {"decode", 8, 768, 3072},
};

/// Row-major [rows, columns], filled with ones.
class Matrix {
 public:
  Matrix(DType dtype, int64_t rows, int64_t columns)
      : dtype_(dtype), rows_(rows), columns_(columns), bytes_(static_cast<size_t>(rows * columns * size_of(dtype))) {
    Fill{.y = {bytes_.data(), dtype, {rows * columns}, {1}}, .value = 1}(Cpu{});
  }
  In<3> in() const { return {bytes_.data(), dtype_, {1, rows_, columns_}, {0, columns_, 1}}; }
  In<3> turned() const { return {bytes_.data(), dtype_, {1, columns_, rows_}, {0, 1, columns_}}; }
  Out<3> out() { return {bytes_.data(), dtype_, {1, rows_, columns_}, {0, columns_, 1}}; }

 private:
  DType dtype_;
  int64_t rows_, columns_;
  std::vector<std::byte> bytes_;
};

void measure(benchmark::State& state, const Layer& layer, const MatMul& product) {
  const double peak = measured_fma_peak_gflops(omp_get_max_threads());
  product(Cpu{});
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) product(Cpu{});
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  const double operations = 2.0 * static_cast<double>(layer.rows * layer.out * layer.in * state.iterations());
  const double gflops = 1e-9 * operations / elapsed.count();
  state.counters["GF/s"] = gflops;
  state.counters["share"] = gflops / peak;
}

void forward(benchmark::State& state, const Layer& layer, DType dtype, Activation activation) {
  const Matrix x(dtype, layer.rows, layer.in), weight(dtype, layer.out, layer.in), bias(dtype, 1, layer.out);
  Matrix pre(dtype, layer.rows, layer.out), y(dtype, layer.rows, layer.out);
  const bool activated = activation != Activation::none;
  measure(state, layer,
          {.a = x.in(),
           .b = weight.turned(),
           .bias = activated ? In<1>{bias.in().data, dtype, {layer.out}, {1}} : In<1>{},
           .add = {},
           .activation = activation,
           .pre_activation = activated ? pre.out() : Out<3>{},
           .c = y.out(),
           .beta = 0});
}

void input_gradient(benchmark::State& state, const Layer& layer, DType dtype) {
  const Matrix dy(dtype, layer.rows, layer.out), weight(dtype, layer.out, layer.in);
  Matrix dx(dtype, layer.rows, layer.in);
  measure(state, layer,
          {.a = dy.in(),
           .b = weight.in(),
           .bias = {},
           .add = {},
           .activation = Activation::none,
           .pre_activation = {},
           .c = dx.out(),
           .beta = 0});
}

void weight_gradient(benchmark::State& state, const Layer& layer, DType dtype) {
  const Matrix dy(dtype, layer.rows, layer.out), x(dtype, layer.rows, layer.in);
  Matrix dw(accumulate_dtype(dtype), layer.out, layer.in);
  measure(state, layer,
          {.a = dy.turned(),
           .b = x.in(),
           .bias = {},
           .add = {},
           .activation = Activation::none,
           .pre_activation = {},
           .c = dw.out(),
           .beta = 1});
}

template <class Body>
void add(const std::string& name, Body body) {
  benchmark::RegisterBenchmark(name.c_str(), body)->UseRealTime()->Unit(benchmark::kMicrosecond);
}

void add_all() {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const Layer& layer : kLayers) {
      const std::string size =
          std::to_string(layer.rows) + "x" + std::to_string(layer.out) + "x" + std::to_string(layer.in);
      const auto name = [&](const char* what) {
        return std::string(layer.model) + "/" + size + "/" + what + "/" + to_string(dtype);
      };
      add(name("forward"), [=](benchmark::State& s) { forward(s, layer, dtype, Activation::none); });
      add(name("gelu"), [=](benchmark::State& s) { forward(s, layer, dtype, Activation::gelu_tanh); });
      add(name("dx"), [=](benchmark::State& s) { input_gradient(s, layer, dtype); });
      add(name("dw"), [=](benchmark::State& s) { weight_gradient(s, layer, dtype); });
    }
  }
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  tessera::add_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
