// What a GPU does in a second: scripts/gpu_check runs this beside PyTorch. One JSON object per line, as they come.
//
//     gpu_benchmark attention [--lengths=8192,1024] [--widths=128,64] [--tokens=16384] [--inner=2048] [--seconds=0.2]
//     gpu_benchmark train [--seconds=20] --key=value…        keys of a config file; tokens per second, memory
//     gpu_benchmark repeat [--times=200] [--lengths=…] …      the same attention again and again, compared bit for bit
//
// Attention is bfloat16, batch · length = tokens, heads · width = inner, full and causal, its backward deterministic
// and atomic; operations are counted as 4 · batch · heads · length² · width forward, 2.5 times as many backward, half
// when causal.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "framework/io/atomic_file.h"
#include "framework/tensor/allocator.h"
#include "framework/tensor/random.h"
#include "kernels/flash_attention/flash_attention.h"
#include "trainers/command_line.h"
#include "trainers/config/load.h"
#include "trainers/trainer.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

using Words = std::vector<std::string>;

/// The text of `--name=` in `words`, taken out of them.
std::string take(Words& words, const std::string& name, const std::string& otherwise) {
  const std::string prefix = "--" + name + "=";
  const auto at = std::find_if(words.begin(), words.end(), [&](const auto& word) { return word.starts_with(prefix); });
  if (at == words.end()) return otherwise;
  const std::string value = at->substr(prefix.size());
  words.erase(at);
  return value;
}

std::vector<int64_t> numbers(const std::string& list) {
  std::vector<int64_t> all;
  for (const char* at = list.c_str(); *at != 0;) {
    char* end = nullptr;
    all.push_back(std::strtoll(at, &end, 10));
    if (end == at || all.back() < 1) throw UsageError("gpu_benchmark: '" + list + "' is no list of positive numbers");
    at = *end == ',' ? end + 1 : end;
  }
  return all;
}

void wait_for(Device device) { static_cast<void>(Tensor::zeros({1}, DType::f32, device).item()); }

void print_line(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

/// Milliseconds of one `work`, which only enqueues, over at least `seconds`.
double milliseconds(Device device, double seconds, const std::function<void()>& work) {
  for (int i = 0; i < 3; ++i) work();
  wait_for(device);
  std::chrono::duration<double> passed{};
  int64_t count = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int64_t batch = 1; passed.count() < seconds; batch *= 2) {
    for (int64_t i = 0; i < batch; ++i) work();
    wait_for(device);
    count += batch;
    passed = std::chrono::steady_clock::now() - start;
  }
  return 1e3 * passed.count() / static_cast<double>(count);
}

/// One attention problem of random numbers on a device.
struct Problem {
  int64_t batch, length, heads, width;
  bool causal;
  Device device;
  Tensor q = random(1), k = random(2), v = random(3), dout = random(4);
  Tensor out = empty_like(q), dq = empty_like(q), dk = empty_like(q), dv = empty_like(q);
  Tensor lse = Tensor::empty({batch, heads, length}, DType::f32, device);

  Tensor random(uint64_t key) const { return random_normal({batch, length, heads, width}, key, DType::bf16, device); }

  AttentionOptions options(bool deterministic = true) const {
    AttentionOptions options{.scale = 1 / std::sqrt(static_cast<double>(width))};
    options.causal = causal;
    options.deterministic = deterministic;
    return options;
  }
  void forward() const {
    launch(FlashAttentionForward{.q = q.in<4>(),
                                 .k = k.in<4>(),
                                 .v = v.in<4>(),
                                 .options = options(),
                                 .out = out.out<4>(),
                                 .lse = lse.out<3>()},
           exec_of(device));
  }
  void backward(bool deterministic = true) const {
    launch(FlashAttentionBackward{.dout = dout.in<4>(),
                                  .q = q.in<4>(),
                                  .k = k.in<4>(),
                                  .v = v.in<4>(),
                                  .out = out.in<4>(),
                                  .lse = lse.in<3>(),
                                  .options = options(deterministic),
                                  .dq = dq.out<4>(),
                                  .dk = dk.out<4>(),
                                  .dv = dv.out<4>()},
           exec_of(device));
  }
  double operations() const {
    return (causal ? 2.0 : 4.0) * static_cast<double>(batch * heads * width) * static_cast<double>(length) *
           static_cast<double>(length);
  }
  std::string name() const {
    return fmt::format("\"width\": {}, \"length\": {}, \"causal\": {}, \"batch\": {}, \"heads\": {}", width, length,
                       causal, batch, heads);
  }
};

void for_every_problem(Words& words, const std::function<void(const Problem&)>& visit) {
  const std::vector<int64_t> lengths = numbers(take(words, "lengths", "8192,1024,2048,4096,16384,512"));
  const std::vector<int64_t> widths = numbers(take(words, "widths", "128,64"));
  const int64_t tokens = numbers(take(words, "tokens", "16384")).front();
  const int64_t inner = numbers(take(words, "inner", "2048")).front();
  const Device device = Device::parse(take(words, "device", "cuda"));
  if (!words.empty()) throw UsageError("gpu_benchmark: " + words.front() + " is not understood");
  if (std::ranges::max(lengths) > tokens || std::ranges::max(widths) > inner)
    throw UsageError("gpu_benchmark: lengths must be at most --tokens, widths at most --inner");
  for (const int64_t length : lengths) {
    for (const int64_t width : widths) {
      for (const bool causal : {false, true}) {
        visit({.batch = tokens / length,
               .length = length,
               .heads = inner / width,
               .width = width,
               .causal = causal,
               .device = device});
      }
    }
  }
}

void measure_attention(Words words) {
  const double seconds = std::strtod(take(words, "seconds", "0.2").c_str(), nullptr);
  for_every_problem(words, [&](const Problem& problem) {
    const double forward = milliseconds(problem.device, seconds, [&] { problem.forward(); });
    const double backward = milliseconds(problem.device, seconds, [&] { problem.backward(); });
    const double atomic = milliseconds(problem.device, seconds, [&] { problem.backward(false); });
    const auto tflops = [&](double share, double time) { return share * problem.operations() / time * 1e-9; };
    print_line(fmt::format(
        "{{{}, \"forward_ms\": {:.4f}, \"backward_ms\": {:.4f}, \"atomic_ms\": {:.4f}, "
        "\"forward_tflops\": {:.1f}, \"backward_tflops\": {:.1f}, \"atomic_tflops\": {:.1f}}}",
        problem.name(), forward, backward, atomic, tflops(1, forward), tflops(2.5, backward), tflops(2.5, atomic)));
  });
}

std::array<std::vector<BFloat16>, 4> results(const Problem& problem) {
  return {problem.out.to_vector<BFloat16>(), problem.dq.to_vector<BFloat16>(), problem.dk.to_vector<BFloat16>(),
          problem.dv.to_vector<BFloat16>()};
}

bool same_bits(const std::vector<BFloat16>& a, const std::vector<BFloat16>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(BFloat16)) == 0;
}

void repeat_attention(Words words) {
  const int64_t times = numbers(take(words, "times", "200")).front();
  for_every_problem(words, [&](const Problem& problem) {
    problem.forward();
    problem.backward();
    const auto first = results(problem);
    int64_t different = 0;
    for (int64_t i = 1; i < times; ++i) {
      for (const Tensor* tensor : {&problem.out, &problem.dq, &problem.dk, &problem.dv}) tensor->fill(-1);
      problem.forward();
      problem.backward();
      different += std::ranges::equal(results(problem), first, same_bits) ? 0 : 1;
    }
    print_line(fmt::format("{{{}, \"repeats\": {}, \"different\": {}}}", problem.name(), times, different));
  });
}

/// A megabyte of text in 65 different characters, in a file that goes with the object.
struct RandomText {
  std::filesystem::path path = std::filesystem::temp_directory_path() / fmt::format("tessera_gpu_{}.txt", getpid());
  RandomText() {
    std::string text;
    for (uint32_t state = 1; text.size() < 1'000'000; state = state * 1664525 + 1013904223) {
      text += static_cast<char>('0' + (state >> 16) % 65);
    }
    write_file(path, text);
  }
  ~RandomText() { std::filesystem::remove(path); }
  RandomText(const RandomText&) = delete;
  RandomText& operator=(const RandomText&) = delete;
};

void measure_training(Words words) {
  const double seconds = std::strtod(take(words, "seconds", "20").c_str(), nullptr);
  const RandomText text;
  words.insert(words.begin(), {"--device=cuda", "--data=" + text.path.string()});
  Trainer trainer(load_config(words).config);
  for (int i = 0; i < 5; ++i) trainer.step();
  std::chrono::duration<double> passed{};
  int64_t steps = 0;
  const auto start = std::chrono::steady_clock::now();
  for (; passed.count() < seconds; ++steps) {
    while (trainer.begun() < trainer.iteration() + 2) trainer.begin_step();
    trainer.finish_step();
    passed = std::chrono::steady_clock::now() - start;
  }
  print_line(fmt::format(
      "{{\"tokens_per_second\": {:.0f}, \"milliseconds_per_step\": {:.3f}, \"steps\": {}, \"loss\": {:.5f}, "
      "\"peak_bytes\": {}}}",
      static_cast<double>(steps * trainer.tokens_per_step()) / passed.count(),
      1e3 * passed.count() / static_cast<double>(steps), steps, trainer.state().loss,
      allocator_stats(trainer.device()).peak_bytes));
}

int run(std::span<const std::string> arguments) {
  const std::string command = arguments.empty() ? "" : arguments[0];
  const Words words(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (command == "attention") measure_attention(words);
  else if (command == "repeat") repeat_attention(words);
  else if (command == "train") measure_training(words);
  else throw UsageError("usage: gpu_benchmark attention|repeat|train [--key=value ...]");
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return tessera::exit_code_of(tessera::run, words);
}
