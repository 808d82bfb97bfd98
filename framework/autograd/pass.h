// A pass is one trip of activations through a model: whether it is recorded, whether it trains, and what keys its
// randomness. Whoever drives the model makes it; every activation carries it; no thread-local or global state exists.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "framework/parameters/parameter.h"
#include "kernels/common/philox.h"

namespace tessera {

class DropoutKeys;
class Graph;
class KvCache;
class Variable;

class Pass {
 public:
  struct Options {
    bool training = true;         ///< dropout is active
    int64_t iteration = 0;        ///< keys dropout: with the same one every step drops the same elements
    uint64_t seed = 0;            ///< keys dropout
    int64_t first_sample = 0;     ///< global index of row 0 of the batch: other ranks and micro-steps drop others
    DropoutKeys* keys = nullptr;  ///< where recorded kernels find the keys of dropout
    KvCache* cache = nullptr;     ///< attention appends to it and reads from it (inference only)
    Tensor loss_scale = {};       ///< what backward() is going to start from, a scalar on the device; undefined: 1
  };

  /// No pass: what constants and parameters carry. They join the pass of the activation they meet. To ask more of it
  /// than whether it records or trains is an error.
  Pass() = default;

  /// Records for one backward(). In a loop give the iteration, or dropout draws the same numbers in every step.
  static Pass recording(const Options& options);
  /// Keeps nothing alive and drops nothing: evaluation and generation.
  static Pass inference(KvCache* cache = nullptr);

  /// The same pass, on a tape of its own (recompute) or on none.
  Pass with_new_tape() const;
  Pass without_tape() const;

  explicit operator bool() const { return state_ != nullptr; }
  bool is_recording() const;
  bool training() const { return state_ != nullptr && state_->options.training; }
  const Options& options() const { return state_->options; }
  /// The key of the random numbers that `site` (a hash of a module's path) draws in this pass.
  RandomKey key(uint64_t site) const;

  /// An activation that needs no gradient: token ids, features.
  Variable input(Tensor value) const;
  /// An activation whose gradient can be read after backward().
  Variable leaf(Tensor value) const;

  /// A parameter for an op that meets no activation, such as a weight that is computed from others.
  Variable parameter(const Parameter& parameter) const;

  /// Sees every op's name, inputs and outputs as they are computed: for tracing and for finding a NaN. What it writes
  /// to an output is what the next op reads.
  using Observer =
      std::function<void(const char* op, std::span<const Variable* const> inputs, std::span<const Tensor> outputs)>;
  /// The same pass with an observer.
  Pass with_observer(Observer observer) const;
  const Observer& observer() const { return state_->observer; }

  /// Called during backward() with each parameter right after its last contribution of this pass; several hooks in the
  /// order in which they came. Throws once backward() has begun, as does the next one.
  void on_gradient_ready(std::function<void(ParameterState&)> hook) const;
  /// Called during backward() with the gradient of one leaf or parameter, right after its last contribution; undefined
  /// where none arrived. What the hook writes to it is what gradient() gives, and changes no other.
  void on_gradient_ready(const Variable& leaf, std::function<void(const Tensor& gradient)> hook) const;

  const std::shared_ptr<Graph>& graph() const { return state_->graph; }
  friend bool operator==(const Pass&, const Pass&) = default;

 private:
  struct State {
    Options options;
    std::shared_ptr<Graph> graph;  ///< null: not recorded
    Observer observer = {};
  };
  explicit Pass(State state) : state_{std::make_shared<const State>(std::move(state))} {}

  /// What a default Pass lacks, and says so.
  struct StatePtr : std::shared_ptr<const State> {
    const State* operator->() const {
      expect(get() != nullptr, "pass: this is no pass; make one with Pass::recording or Pass::inference");
      return get();
    }
  };

  StatePtr state_;
};

}  // namespace tessera
