// Host memory that a device copies from and to while the host goes on, and the mark that says when a copy is done.
#pragma once

#include <vector>

#include "framework/tensor/tensor.h"

namespace tessera {

/// One copy at a time, in the order of the device's stream. On the CPU a copy is done when it was asked for.
class PinnedBuffer {
 public:
  PinnedBuffer(Device device, size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

  /// Enqueues a copy of the first bytes to `to`, contiguous, on the device. They must not change before it is done.
  void send(const Tensor& to);
  /// Enqueues a copy of `from`, contiguous, on the device, to the first bytes.
  void receive(const Tensor& from);

  /// Whether the last copy is done. Never waits.
  bool done() const;
  /// Waits for the last copy, and for nothing that was enqueued after it.
  void wait() const;

 private:
  Device device_;
  size_t bytes_;
  void* data_ = nullptr;
  void* event_ = nullptr;  // a cudaEvent_t
};

/// Sends what changes from step to step to a device, through pinned memory that is used again once it is free.
class Uploader {
 public:
  explicit Uploader(Device device) : device_(device) {}

  /// A new tensor on the device, row-major, with the `values`, which may go away when the call returns.
  template <class T>
  Tensor upload(const std::vector<T>& values, const Shape& shape) {
    Tensor tensor = Tensor::empty(shape, dtype_of<T>(), device_);
    send(values, tensor);
    return tensor;
  }
  /// Overwrites a contiguous tensor of the device with the `values`.
  template <class T>
  void send(const std::vector<T>& values, const Tensor& to) {
    expect(static_cast<int64_t>(values.size()) == to.numel() && to.dtype() == dtype_of<T>(),
           "upload: {} values of {} do not fill {} {}", values.size(), dtype_of<T>(), to.dtype(), to.shape());
    send(values.data(), to);
  }

 private:
  void send(const void* data, const Tensor& to);
  PinnedBuffer& free_buffer(size_t bytes);

  Device device_;
  std::vector<std::unique_ptr<PinnedBuffer>> buffers_;
};

}  // namespace tessera
