// The memory-bound kernels of a training step on a GPU, each in GB/s of the bytes it must move at least, beside a plain
// copy in the same run: what a kernel reaches of the copy is its efficiency.
//
//     build/cuda/benchmarks/device_kernels_benchmark [--mib=256] [--rounds=20] [--json]
//
// With --mib=1 --rounds=1 it can be rehearsed on the emulated device.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "framework/tensor/tensor.h"
#include "kernels/adamw/adamw.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/dropout/dropout.h"
#include "kernels/elementwise/add.h"
#include "kernels/elementwise/gelu.h"
#include "kernels/elementwise/swiglu.h"
#include "kernels/embedding/embedding.h"
#include "kernels/gradient_scan/gradient_scan.h"
#include "kernels/memory/memory.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/reduce/sum.h"
#include "kernels/rotary/rotary.h"

namespace tessera {
namespace {

constexpr int64_t kWidth = 1024, kVocabulary = 16384, kHeads = 16;

struct Settings {
  int64_t mib = 256;
  int rounds = 20;
  bool json = false;
};

Settings parse(int count, char** arguments) {
  Settings settings;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument.starts_with("--mib=")) settings.mib = std::atoll(argument.c_str() + 6);
    else if (argument.starts_with("--rounds=")) settings.rounds = std::atoi(argument.c_str() + 9);
    else if (argument == "--json") settings.json = true;
    else fail("device_kernels_benchmark: unknown option {} (known: --mib=N, --rounds=N, --json)", argument);
  }
  expect(settings.mib > 0 && settings.rounds > 0, "device_kernels_benchmark: --mib and --rounds must be positive");
  return settings;
}

/// One kernel: what it reads and writes at least, and how to enqueue it.
struct Task {
  std::string name;
  int64_t bytes;
  std::function<void(const Exec&)> run;
};

int64_t bytes_of(std::initializer_list<Tensor> tensors) {
  int64_t bytes = 0;
  for (const Tensor& tensor : tensors) bytes += tensor.numel() * size_of(tensor.dtype());
  return bytes;
}

template <class Kernel>
Task task(const std::string& name, std::initializer_list<Tensor> moved, const Kernel& kernel) {
  return {name, bytes_of(moved),
          [kernel, kept = std::vector<Tensor>(moved)](const Exec& exec) { launch(kernel, exec); }};
}

/// Tensors that the last task uses beside those it counts.
void keep(std::vector<Task>& tasks, const std::vector<Tensor>& tensors) {
  tasks.back().run = [run = tasks.back().run, tensors](const Exec& exec) { run(exec); };
}

In<4> four(const Tensor& x) { return {x.address(), x.dtype(), {1, 1, 1, x.numel()}, {0, 0, 0, 1}}; }
Out<4> four_out(const Tensor& x) { return {x.address(), x.dtype(), {1, 1, 1, x.numel()}, {0, 0, 0, 1}}; }

/// Tensors of one dtype whose matrices hold `elements` numbers.
class Maker {
 public:
  Maker(Device device, DType dtype, int64_t elements) : device_(device), dtype_(dtype), rows_(elements / kWidth) {}
  Tensor matrix() const { return Tensor::full({rows_, kWidth}, 0.5, dtype_, device_); }
  Tensor vector(int64_t n) const { return Tensor::full({n}, 0.5, DType::f32, device_); }
  int64_t rows() const { return rows_; }
  Device device() const { return device_; }
  DType dtype() const { return dtype_; }

 private:
  Device device_;
  DType dtype_;
  int64_t rows_;
};

void add_elementwise(const Maker& make, std::vector<Task>& tasks) {
  const std::string type = " " + to_string(make.dtype());
  const Tensor a = make.matrix(), b = make.matrix(), y = make.matrix();
  const auto flat = [](const Tensor& x) { return x.view({-1}); };
  tasks.push_back(task("add" + type, {a, b, y}, Add{.a = four(a), .b = four(b), .y = four_out(y)}));
  tasks.push_back(task("gelu_tanh" + type, {a, y},
                       Gelu{.x = flat(a).in<1>(), .activation = Activation::gelu_tanh, .y = flat(y).out<1>()}));
  tasks.push_back(task(
      "gelu_tanh backward" + type, {a, b, y},
      GeluBackward{
          .x = flat(a).in<1>(), .dy = flat(b).in<1>(), .activation = Activation::gelu_tanh, .dx = flat(y).out<1>()}));
  const Tensor half = y.slice(0, 0, make.rows() / 2);
  tasks.push_back(task("swiglu" + type, {a, half},
                       SwiGlu{.gate_up = a.view({make.rows() / 2, 2 * kWidth}).in<2>(), .y = half.out<2>()}));
  tasks.push_back(task("dropout" + type, {a, y},
                       Dropout{.x = a.in<2>(), .residual = {}, .p = 0.1f, .key = 1, .first_row = 0, .y = y.out<2>()}));
  const Shape heads{1, make.rows(), kHeads, kWidth / kHeads};
  tasks.push_back(task("rotary" + type, {a, y},
                       Rotary{.x = a.view(heads).in<4>(),
                              .positions = {},
                              .start = 0,
                              .base = 10000,
                              .direction = RotaryDirection::forward,
                              .y = y.view(heads).out<4>()}));
  const Tensor sum = make.vector(kWidth);
  tasks.push_back(task("sum over rows" + type, {a},
                       Sum{.x = a.in<3>(), .scale = 1, .beta = 0, .y = sum.view({1, kWidth}).out<2>()}));
  keep(tasks, {sum});
}

void add_norms(const Maker& make, std::vector<Task>& tasks) {
  const std::string type = " " + to_string(make.dtype());
  const Tensor x = make.matrix(), residual = make.matrix(), sum = make.matrix(), y = make.matrix();
  const Tensor weight = make.vector(kWidth), bias = make.vector(kWidth), mean = make.vector(make.rows()),
               rstd = make.vector(make.rows()), dweight = make.vector(kWidth), dbias = make.vector(kWidth);
  tasks.push_back(task("layer norm, residual added" + type, {x, residual, sum, y, mean, rstd, weight, bias},
                       LayerNormForward{.x = x.in<2>(),
                                        .residual = residual.in<2>(),
                                        .weight = weight.in<1>(),
                                        .bias = bias.in<1>(),
                                        .epsilon = 1e-5,
                                        .sum = sum.out<2>(),
                                        .y = y.out<2>(),
                                        .mean = mean.out<1>(),
                                        .rstd = rstd.out<1>()}));
  tasks.push_back(task("layer norm backward" + type, {x, residual, sum, y, mean, rstd, weight, dweight, dbias},
                       LayerNormBackward{.x = x.in<2>(),
                                         .weight = weight.in<1>(),
                                         .mean = mean.in<1>(),
                                         .rstd = rstd.in<1>(),
                                         .dy = residual.in<2>(),
                                         .dsum = sum.in<2>(),
                                         .dx = y.out<2>(),
                                         .dweight = dweight.out<1>(),
                                         .dweight_beta = 0,
                                         .dbias = dbias.out<1>(),
                                         .dbias_beta = 0}));
}

void add_loss(const Maker& make, std::vector<Task>& tasks) {
  const std::string type = " " + to_string(make.dtype());
  const int64_t rows = std::max<int64_t>(1, make.rows() * kWidth / kVocabulary);
  const Tensor logits = Tensor::full({rows, kVocabulary}, 0.5, make.dtype(), make.device());
  const Tensor gradient = Tensor::empty({rows, kVocabulary}, make.dtype(), make.device());
  const Tensor targets = Tensor::zeros({rows}, DType::i32, make.device());
  const Tensor loss = make.vector(rows), lse = make.vector(rows);
  const Tensor status = Tensor::zeros({1}, DType::i32, make.device());
  tasks.push_back(task("cross entropy" + type, {logits, targets, loss, lse},
                       CrossEntropyForward{.logits = logits.in<2>(),
                                           .targets = targets.in<1>(),
                                           .ignore_index = -1,
                                           .loss = loss.out<1>(),
                                           .lse = lse.out<1>(),
                                           .status = status.data<int32_t>()}));
  keep(tasks, {status});
  tasks.push_back(task("cross entropy backward" + type, {logits, targets, lse, gradient},
                       CrossEntropyBackward{.logits = logits.in<2>(),
                                            .targets = targets.in<1>(),
                                            .ignore_index = -1,
                                            .lse = lse.in<1>(),
                                            .dloss = {},
                                            .scale = 1,
                                            .dlogits = gradient.out<2>()}));
}

void add_optimizer(Device device, int64_t n, std::vector<Task>& tasks) {
  const auto numbers = [&](DType dtype) { return Tensor::full({n}, 0.5, dtype, device); };
  const Tensor weight = numbers(DType::f32), moment1 = numbers(DType::f32), moment2 = numbers(DType::f32),
               gradient = numbers(DType::f32), mirror = numbers(DType::bf16);
  const StepState host;
  const auto* bytes = reinterpret_cast<const uint8_t*>(&host);
  const Tensor state = Tensor::from(std::span(bytes, sizeof host), {sizeof host}, device);
  tasks.push_back(task("adamw", {weight, weight, moment1, moment1, moment2, moment2, gradient, mirror, state},
                       AdamWStep{.weight = weight.out<1>(),
                                 .moment1 = moment1.out<1>(),
                                 .moment2 = moment2.out<1>(),
                                 .gradient = gradient.in<1>(),
                                 .mirror = mirror.out<1>(),
                                 .state = static_cast<const StepState*>(state.address()),
                                 .weight_decay = 0.1,
                                 .beta1 = 0.9,
                                 .beta2 = 0.95,
                                 .epsilon = 1e-8}));
  const Tensor result = Tensor::zeros({sizeof(ScanResult)}, DType::u8, device);
  tasks.push_back(
      task("gradient scan", {gradient, result},
           GradientScan{.gradient = gradient.in<1>(), .result = static_cast<ScanResult*>(result.address())}));
}

void add_embedding(const Maker& make, std::vector<Task>& tasks) {
  const Tensor table = make.matrix(), y = make.matrix(), ids = Tensor::zeros({make.rows()}, DType::i32, make.device());
  const Tensor status = Tensor::zeros({1}, DType::i32, make.device());
  tasks.push_back(task("embedding " + to_string(make.dtype()), {ids, y},  // one row of the table, again and again
                       EmbeddingForward{.table = table.in<2>(),
                                        .ids = ids.in<1>(),
                                        .positions = {},
                                        .position_ids = {},
                                        .position_start = 0,
                                        .position_period = 1,
                                        .y = y.out<2>(),
                                        .status = status.data<int32_t>()}));
  keep(tasks, {table, status});
}

/// Seconds of one run, the best of three measurements of `rounds` runs.
double seconds_of(const Task& task, Device device, int rounds) {
  const Exec exec = exec_of(device);
  const Tensor mark = Tensor::zeros({1}, DType::f32, device);
  task.run(exec);
  double best = 1e30;
  for (int repeat = 0; repeat < 3; ++repeat) {
    mark.item();  // waits
    const auto begin = std::chrono::steady_clock::now();
    for (int round = 0; round < rounds; ++round) task.run(exec);
    mark.item();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / rounds);
  }
  return best;
}

void run(const Settings& settings) {
  const Device device = Device::parse("cuda");
  const int64_t bytes = settings.mib << 20;
  std::vector<Task> tasks;
  const Maker f32(device, DType::f32, bytes / 4), bf16(device, DType::bf16, bytes / 2);
  {
    const Tensor x = f32.matrix(), y = f32.matrix();
    tasks.push_back(task("copy", {x, y}, Copy{.x = x.in<5>(), .y = y.out<5>()}));
  }
  const double copied = static_cast<double>(tasks[0].bytes) / seconds_of(tasks[0], device, settings.rounds);
  std::printf("%-34s %8s %9s %8s\n", "kernel", "MiB", "GB/s", "of copy");
  const auto measure = [&] {
    for (const Task& task : tasks) {
      const double rate = static_cast<double>(task.bytes) / seconds_of(task, device, settings.rounds);
      std::printf("%-34s %8.0f %9.0f %7.0f%%\n", task.name.c_str(), static_cast<double>(task.bytes) / (1 << 20),
                  rate / 1e9, 100 * rate / copied);
      if (settings.json)
        std::printf("{\"kernel\": \"%s\", \"bytes\": %lld, \"gb_per_second\": %.1f, \"of_copy\": %.3f}\n",
                    task.name.c_str(), static_cast<long long>(task.bytes), rate / 1e9, rate / copied);
    }
    tasks.clear();  // and their memory
  };
  measure();
  for (const Maker& make : {f32, bf16}) {
    add_elementwise(make, tasks);
    measure();
    add_norms(make, tasks);
    measure();
    add_loss(make, tasks);
    add_embedding(make, tasks);
    measure();
  }
  add_optimizer(device, bytes / 4, tasks);
  measure();
}

}  // namespace
}  // namespace tessera

int main(int count, char** arguments) {
  try {
    tessera::run(tessera::parse(count, arguments));
  } catch (const tessera::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
