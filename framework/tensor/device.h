// Where a tensor's memory lies.
#pragma once

#include <string>

#include "kernels/common/exec.h"

namespace tessera {

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;

  static Device cpu() { return {}; }
  /// The `index`-th visible GPU. Throws `Error` where there is none or the build has no CUDA.
  static Device cuda(int index = 0);
  /// "cpu", "cuda", "cuda:1", or "auto": the first GPU if there is one, else the CPU.
  static Device parse(std::string_view name);

  bool is_cpu() const { return kind == Kind::cpu; }
  friend bool operator==(const Device&, const Device&) = default;
};

/// "cpu" or "cuda:0".
std::string to_string(Device device);

/// The number of GPUs that this process can use; 0 in a build without CUDA.
int cuda_device_count();

/// Why the `index`-th visible GPU cannot be used, as one sentence: it is not there, or it, its driver and this program
/// do not fit together. Empty where it can.
std::string cuda_trouble(int index);

/// How to run a kernel on the memory of `device`: on the CPU the calling thread's team, on a GPU its work stream.
Exec exec_of(Device device);

/// Whether float32 matrix products on GPUs may round their factors to TF32: faster, three digits. Off at first.
void allow_tf32(bool allowed);

}  // namespace tessera
