// How much of the machine's multiply-add peak attention reaches on the CPU, the peak being measured between the runs it
// is compared with. Only useful work counts: 4·B·H·N·N·D operations forward, 2.5 times as many backward, half when
// causal.
//
//     attention_benchmark [--threads=2] [--dtype=float32] [--batch=4] [--heads=8] [--length=1024] [--width=64]
//     attention_benchmark --long     one head of length 65536, forward and backward, and the memory they take
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "framework/tensor/tensor.h"
#include "kernels/common/peak.h"
#include "kernels/common/select.h"
#include "kernels/common/threads.h"
#include "kernels/flash_attention/flash_attention.h"

namespace {

using namespace tessera;

struct Sizes {
  int64_t threads = 0, batch = 4, heads = 8, length = 1024, width = 64;
  DType dtype = DType::f32;
  bool long_run = false;
};

double seconds_of(auto&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size()) / 2, values.end());
  return values[values.size() / 2];
}

/// One attention problem of random numbers.
struct Problem {
  Sizes sizes;
  bool causal;
  Tensor q, k, v, out, dout, dq, dk, dv, lse;

  Problem(const Sizes& s, bool causal) : sizes(s), causal(causal) {
    const Shape shape{s.batch, s.length, s.heads, s.width};
    for (Tensor* tensor : {&q, &k, &v, &dout}) *tensor = random(shape, s.dtype);
    for (Tensor* tensor : {&out, &dq, &dk, &dv}) *tensor = Tensor::zeros(shape, s.dtype);
    lse = Tensor::zeros({s.batch, s.heads, s.length}, accumulate_dtype(s.dtype));
  }

  static Tensor random(const Shape& shape, DType dtype) {
    std::mt19937 engine(1);
    std::normal_distribution<float> normal;
    const Tensor tensor = Tensor::empty(shape, dtype);
    select_float("attention_benchmark", dtype, [&]<DType T>() {
      for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data<CppType<T>>()[i] = CppType<T>(normal(engine));
    });
    return tensor;
  }

  AttentionOptions options() const {
    AttentionOptions options{.scale = 1 / std::sqrt(static_cast<double>(sizes.width))};
    options.causal = causal;
    return options;
  }

  FlashAttentionForward forward() const {
    return {
        .q = q.in<4>(), .k = k.in<4>(), .v = v.in<4>(), .options = options(), .out = out.out<4>(), .lse = lse.out<3>()};
  }

  FlashAttentionBackward backward() const {
    return {.dout = dout.in<4>(),
            .q = q.in<4>(),
            .k = k.in<4>(),
            .v = v.in<4>(),
            .out = out.in<4>(),
            .lse = lse.in<3>(),
            .options = options(),
            .dq = dq.out<4>(),
            .dk = dk.out<4>(),
            .dv = dv.out<4>()};
  }

  double operations() const {
    const double all = 4.0 * static_cast<double>(sizes.batch * sizes.heads * sizes.length * sizes.length * sizes.width);
    return causal ? all / 2 : all;
  }
};

void report(std::string_view name, double operations, int threads, auto&& work) {
  constexpr int kRuns = 15;
  std::vector<double> seconds, shares;
  work();
  for (int run = 0; run < kRuns; ++run) {
    const double peak = measured_fma_peak_gflops(threads);
    seconds.push_back(seconds_of(work));
    shares.push_back(operations / seconds.back() * 1e-9 / peak);
  }
  fmt::print("{:18} {:8.2f} ms {:8.1f} GFLOP/s   {:5.1f} % of peak (best {:.1f} %)\n", name, median(seconds) * 1e3,
             operations / median(seconds) * 1e-9, median(shares) * 100,
             *std::max_element(shares.begin(), shares.end()) * 100);
}

void compare_with_peak(const Sizes& sizes, int threads) {
  fmt::print("attention: batch {}, {} heads, length {}, width {}, {}, {} threads; peak {:.0f} GFLOP/s\n", sizes.batch,
             sizes.heads, sizes.length, sizes.width, name_of(sizes.dtype), threads, measured_fma_peak_gflops(threads));
  for (const bool causal : {false, true}) {
    const Problem problem(sizes, causal);
    const std::string_view kind = causal ? "causal" : "full";
    report(fmt::format("forward, {}", kind), problem.operations(), threads, [&] { problem.forward()(Cpu{}); });
    report(fmt::format("backward, {}", kind), 2.5 * problem.operations(), threads, [&] { problem.backward()(Cpu{}); });
  }
}

/// A line of /proc/self/status, in MiB.
double status_mib(std::string_view key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return std::atof(line.c_str() + key.size() + 1) / 1024;
  }
  return 0;
}

void run_long(Sizes sizes, int threads) {
  sizes.batch = sizes.heads = 1, sizes.length = 65536;
  const Problem problem(sizes, false);
  std::ofstream("/proc/self/clear_refs") << 5;  // forget the largest resident size so far
  const double before = status_mib("VmRSS");
  const double forward = seconds_of([&] { problem.forward()(Cpu{}); });
  const double backward = seconds_of([&] { problem.backward()(Cpu{}); });
  fmt::print("attention: 1 head, length {}, width {}, {}, {} threads\n", sizes.length, sizes.width,
             name_of(sizes.dtype), threads);
  fmt::print("forward {:.1f} s, backward {:.1f} s, {:.0f} GFLOP/s\n", forward, backward,
             3.5 * problem.operations() / (forward + backward) * 1e-9);
  fmt::print("memory beyond inputs, outputs and gradients: {:.1f} MiB (planned: {:.1f} and {:.1f} MiB)\n",
             status_mib("VmHWM") - before, static_cast<double>(problem.forward().plan(Cpu{}).scratch_bytes) / (1 << 20),
             static_cast<double>(problem.backward().plan(Cpu{}).scratch_bytes) / (1 << 20));
}

bool parse(std::string_view argument, Sizes& sizes) {
  if (argument == "--long") return sizes.long_run = true;
  const size_t equals = argument.find('=');
  if (!argument.starts_with("--") || equals == std::string_view::npos) return false;
  const std::string_view key = argument.substr(2, equals - 2), value = argument.substr(equals + 1);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    if (key == "dtype" && value == name_of(dtype)) return sizes.dtype = dtype, true;
  }
  const std::pair<std::string_view, int64_t*> numbers[] = {{"threads", &sizes.threads},
                                                           {"batch", &sizes.batch},
                                                           {"heads", &sizes.heads},
                                                           {"length", &sizes.length},
                                                           {"width", &sizes.width}};
  for (const auto& [name, number] : numbers) {
    if (key == name) return (*number = std::atoll(value.data())) > 0;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  Sizes sizes;
  for (int i = 1; i < argc; ++i) {
    if (!parse(argv[i], sizes)) {
      fmt::print(stderr, "attention_benchmark: {} is not understood; the options are at the top of its source\n",
                 argv[i]);
      return 2;
    }
  }
  const int threads = set_threads(static_cast<int>(sizes.threads));
  if (sizes.long_run) run_long(sizes, threads);
  else compare_with_peak(sizes, threads);
}
