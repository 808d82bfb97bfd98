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
#include <string>
#include <vector>

#include "benchmarks/device_elementwise_tasks.h"
#include "benchmarks/device_norm_tasks.h"
#include "benchmarks/device_row_tasks.h"
#include "kernels/adamw/adamw.h"
#include "kernels/gradient_scan/gradient_scan.h"
#include "kernels/sgd/sgd.h"

namespace tessera {
namespace {

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
  tasks.push_back(task("sgd", {weight, weight, moment1, moment1, gradient, mirror, state},
                       SgdStep{.weight = weight.out<1>(),
                               .velocity = moment1.out<1>(),
                               .gradient = gradient.in<1>(),
                               .mirror = mirror.out<1>(),
                               .state = static_cast<const StepState*>(state.address()),
                               .weight_decay = 0.1,
                               .momentum = 0.9}));
  const Tensor result = Tensor::zeros({sizeof(ScanResult)}, DType::u8, device);
  tasks.push_back(
      task("gradient scan", {gradient, result},
           GradientScan{.gradient = gradient.in<1>(), .result = static_cast<ScanResult*>(result.address())}));
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
    for (const int64_t vocabulary : {kVocabulary, int64_t{50304}}) add_loss(make, vocabulary, tasks);
    add_embedding(make, tasks);
    add_reductions(make, tasks);
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
