// Work of one device that is recorded once and from then on enqueued with one call: a CUDA graph. Its memory comes from
// a pool of its own, which lives as long as it does, so that every replay finds the addresses of the recording.
#pragma once

#include <functional>
#include <memory>

#include "framework/tensor/device.h"

namespace tessera {

class CachingAllocator;

/// Only for GPUs.
class DeviceGraph {
 public:
  explicit DeviceGraph(Device device);
  ~DeviceGraph();  ///< waits for the device
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;

  /// Enqueues `work` as always, but with memory of the pool, which then has all that a recording needs.
  void rehearse(const std::function<void()>& work);
  /// Records `work` and enqueues nothing. It must do what it did when rehearsed: memory that the pool does not have,
  /// and waiting for the device, are errors.
  void record(const std::function<void()>& work);
  bool recorded() const { return executable_ != nullptr; }
  /// Enqueues what was recorded.
  void replay() const;

 private:
  Device device_;
  std::unique_ptr<CachingAllocator> pool_;
  void* executable_ = nullptr;  // a cudaGraphExec_t
};

}  // namespace tessera
