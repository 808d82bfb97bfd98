// Collectives on a GPU: each is enqueued on a stream of its own behind the work that made its data, and work given
// later waits for it on the device. The host waits for nothing, so a captured CUDA graph replays it all.
#pragma once

#include <memory>
#include <string_view>

#include "framework/distributed/communicator.h"
#include "framework/distributed/connection.h"

namespace tessera {

/// What moves the data between GPUs: NCCL, or a recording of the calls. Every call is enqueued on `stream`, a
/// cudaStream_t, and throws Error where it cannot be. Tensors are contiguous and in the device's memory.
class StreamCollectives {
 public:
  virtual ~StreamCollectives() = default;
  /// As Communicator::transport.
  virtual std::string_view name() const = 0;
  virtual void all_reduce(const Tensor& data, Communicator::Reduction reduction, void* stream) = 0;
  /// `to` is this rank's part of `data`.
  virtual void reduce_scatter(const Tensor& data, const Tensor& to, void* stream) = 0;
  /// `from` is this rank's part of `data`.
  virtual void all_gather(const Tensor& from, const Tensor& data, void* stream) = 0;
  virtual void broadcast(const Tensor& data, int root, void* stream) = 0;
  virtual std::shared_ptr<Connection> connection() const { return nullptr; }
};

/// `device` must be a GPU. Tensors of the host travel through it, and are waited for.
std::unique_ptr<Communicator> stream_communicator(std::unique_ptr<StreamCollectives> collectives, Device device,
                                                  int rank, int world);

}  // namespace tessera
