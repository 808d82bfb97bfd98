#include "framework/tensor/pinned_buffer.h"

#include <cstring>

#include "framework/tensor/allocator.h"

namespace tessera {

Tensor Uploader::upload(const void* data, size_t bytes, const Shape& shape, DType dtype) {
  const Tensor tensor = Tensor::empty(shape, dtype, device_);
  expect(static_cast<size_t>(tensor.nbytes()) == bytes, "upload: {} bytes do not fill {} {}", bytes, dtype, shape);
  if (bytes == 0) return tensor;
  PinnedBuffer& buffer = free_buffer(bytes);
  std::memcpy(buffer.data(), data, bytes);
  buffer.send(tensor);
  return tensor;
}

PinnedBuffer& Uploader::free_buffer(size_t bytes) {
  for (const auto& buffer : buffers_) {
    if (buffer->bytes() >= bytes && buffer->done()) return *buffer;
  }
  return *buffers_.emplace_back(std::make_unique<PinnedBuffer>(device_, bytes));
}

// The CUDA build replaces these (pinned_buffer_cuda.cpp).
#ifndef TESSERA_WITH_CUDA
PinnedBuffer::PinnedBuffer(Device device, size_t bytes)
    : device_(device), bytes_(bytes), data_(allocate(device, bytes)) {}

PinnedBuffer::~PinnedBuffer() { deallocate(device_, data_, bytes_); }

void PinnedBuffer::send(const Tensor& to) { std::memcpy(to.address(), data_, static_cast<size_t>(to.nbytes())); }

void PinnedBuffer::receive(const Tensor& from) {
  std::memcpy(data_, from.address(), static_cast<size_t>(from.nbytes()));
}

bool PinnedBuffer::done() const { return true; }

void PinnedBuffer::wait() const {}
#endif

}  // namespace tessera
