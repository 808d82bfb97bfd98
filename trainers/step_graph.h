// The device's part of a training step, recorded as one CUDA graph once its shape has come often enough, and from then
// on enqueued with one call. The numbers are those of the step that is not recorded, to the bit.
#pragma once

#include <functional>
#include <map>
#include <optional>

#include "framework/autograd/dropout_keys.h"
#include "framework/data/dataset.h"
#include "framework/tensor/device_graph.h"

namespace tessera {

/// One forward and backward pass of a step, and what keys its randomness.
struct MicroStep {
  Batch batch;
  int64_t first_sample = 0;  ///< of the global batch
};

/// A micro-step on the device.
struct MicroInput {
  Tensor ids, targets;  ///< i32 [rows, block size]
  int64_t first_sample = 0;
};

class StepGraph {
 public:
  /// Everything between the inputs and the changed weights. It gets null keys where they need not be looked up.
  using Work = std::function<void(std::span<const MicroInput> inputs, DropoutKeys* keys)>;

  /// `why_not`: the reason for which nothing is recorded; empty: steps are.
  StepGraph(Device device, uint64_t seed, std::string why_not);

  /// Enqueues one step. `tokens`, like every extent, is part of the step's shape.
  void run(std::span<const MicroStep> steps, int64_t iteration, double tokens, const Work& work);

  /// Why nothing is recorded; empty where steps are.
  const std::string& why_not() const { return why_not_; }
  /// Steps that were enqueued as a graph so far.
  int64_t replays() const { return replays_; }

 private:
  struct Shape {
    int64_t seen = 0;
    std::vector<MicroInput> inputs;  // the same memory in every step
    std::optional<DeviceGraph> graph;
  };
  using Key = std::vector<double>;

  std::vector<MicroInput> upload(std::span<const MicroStep> steps);
  void say_that_shapes_are_many();
  bool record(Shape& shape, const std::function<void()>& work);

  Device device_;
  std::string why_not_;
  Uploader uploader_;
  DropoutKeys keys_;
  std::map<Key, Shape> shapes_;
  int64_t replays_ = 0;
  bool said_many_ = false;
};

}  // namespace tessera
