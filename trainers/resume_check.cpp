#include "trainers/resume_check.h"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

#include "trainers/say.h"

namespace tessera {
namespace {

// Bytes of a tensor that are not the same, counted in elements.
int64_t differing(const Tensor& a, const Tensor& b) {
  const Tensor here = a.to(Device::cpu()), there = b.to(Device::cpu());
  const auto* x = static_cast<const std::byte*>(here.address());
  const auto* y = static_cast<const std::byte*>(there.address());
  const int64_t size = size_of(a.dtype());
  int64_t count = 0;
  for (int64_t i = 0; i < a.numel(); ++i) count += !std::equal(x + i * size, x + (i + 1) * size, y + i * size);
  return count;
}

}  // namespace

int print_differences(const Trainer& straight, const Trainer& resumed) {
  int64_t wrong = 0;
  const auto check = [&](const std::string& name, const Tensor& a, const Tensor& b) {
    const int64_t count = differing(a.to_contiguous(), b.to_contiguous());
    say("{:<60} {}\n", name, count == 0 ? "equal" : fmt::format("{} of {} differ", count, a.numel()));
    wrong += count;
  };
  const Tensor weights_a = straight.weights(), weights_b = resumed.weights();
  const OptimizerBuffers a = straight.optimizer_buffers();
  const OptimizerBuffers b = resumed.optimizer_buffers();
  for (const ParameterArena::Entry& entry : straight.arena().entries()) {
    check(entry.parameter->name, weights_a.slice(0, entry.begin, entry.end),
          weights_b.slice(0, entry.begin, entry.end));
    for (const auto& [kind, buffer] : a) {
      check(entry.parameter->name + "." + kind, buffer.slice(0, entry.begin, entry.end),
            b.at(kind).slice(0, entry.begin, entry.end));
    }
  }
  if (wrong == 0) say("resuming is bit-exact\n");
  else say("resuming is NOT bit-exact: {} elements differ\n", wrong);
  return wrong == 0 ? 0 : 1;
}

}  // namespace tessera
