// What the benchmark of the memory-bound kernels measures: a kernel, and the bytes that it must move at least.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "framework/tensor/tensor.h"
#include "kernels/common/exec.h"

namespace tessera {

inline constexpr int64_t kWidth = 1024, kVocabulary = 16384, kHeads = 16;

/// One kernel: what it reads and writes at least, and how to enqueue it.
struct Task {
  std::string name;
  int64_t bytes;
  std::function<void(const Exec&)> run;
};

inline int64_t bytes_of(std::initializer_list<Tensor> tensors) {
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
inline void keep(std::vector<Task>& tasks, const std::vector<Tensor>& tensors) {
  tasks.back().run = [run = tasks.back().run, tensors](const Exec& exec) { run(exec); };
}

inline In<4> four(const Tensor& x) { return {x.address(), x.dtype(), {1, 1, 1, x.numel()}, {0, 0, 0, 1}}; }
inline Out<4> four_out(const Tensor& x) { return {x.address(), x.dtype(), {1, 1, 1, x.numel()}, {0, 0, 0, 1}}; }

/// Tensors of one dtype whose matrices hold `elements` numbers.
class Maker {
 public:
  Maker(Device device, DType dtype, int64_t elements) : device_(device), dtype_(dtype), rows_(elements / kWidth) {}
  Tensor matrix() const { return matrix(dtype_); }
  Tensor matrix(DType dtype) const { return Tensor::full({rows_, kWidth}, 0.5, dtype, device_); }
  Tensor vector(int64_t n) const { return Tensor::full({n}, 0.5, DType::f32, device_); }
  int64_t rows() const { return rows_; }
  Device device() const { return device_; }
  DType dtype() const { return dtype_; }

 private:
  Device device_;
  DType dtype_;
  int64_t rows_;
};

}  // namespace tessera
