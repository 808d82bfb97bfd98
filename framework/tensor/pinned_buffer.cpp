#include "framework/tensor/pinned_buffer.h"

#include <cstring>

#include "framework/tensor/allocator.h"

namespace tessera {

void Uploader::send(const void* data, const Tensor& to) {
  const auto bytes = static_cast<size_t>(to.nbytes());
  if (bytes == 0) return;
  if (device_.is_cpu()) {
    std::memcpy(to.address(), data, bytes);
    return;
  }
  PinnedBuffer& buffer = free_buffer(bytes);
  std::memcpy(buffer.data(), data, bytes);
  buffer.send(to);
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
