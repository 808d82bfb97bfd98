#include "framework/tensor/device.h"

#include <charconv>

#include "kernels/common/error.h"

namespace tessera {

Device Device::cuda(int index) {
  const std::string trouble = cuda_trouble(index);
  expect(trouble.empty(), "device: cuda:{} was asked for, but {}", index, trouble);
  return {Kind::cuda, index};
}

Device Device::parse(std::string_view name) {
  if (name == "cpu") return cpu();
  if (name == "auto") return cuda_device_count() > 0 ? cuda(0) : cpu();
  if (name == "cuda") return cuda(0);
  int index = -1;
  if (name.starts_with("cuda:")) {
    const auto [end, error] = std::from_chars(name.data() + 5, name.data() + name.size(), index);
    if (error == std::errc{} && end == name.data() + name.size()) return cuda(index);
  }
  fail("device: '{}' is not a device; use auto, cpu, cuda or cuda:N", name);
}

std::string to_string(Device device) { return device.is_cpu() ? "cpu" : "cuda:" + std::to_string(device.index); }

// The CUDA build replaces these (device_cuda.cpp).
#ifndef TESSERA_WITH_CUDA
int cuda_device_count() { return 0; }

std::string cuda_trouble(int) { return "this build has no CUDA; set device = cpu, or build with -DTESSERA_CUDA=ON"; }

Exec exec_of(Device) { return Cpu{}; }
void allow_tf32(bool) {}
#endif

}  // namespace tessera
