// The tape: named nodes in recording order, which is a topological order, so backward is one loop and never recurses.
// A node's closure captures tensors; its capture list is all that keeps memory alive.
#pragma once

#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "framework/autograd/variable.h"

namespace tessera {

class Graph {
 public:
  /// Gets the gradients of the outputs (undefined where none arrived) and one slot per input. Gradients may be kept,
  /// but overwritten only where they are `unique()`: the memory may be that of another value's gradient too.
  using Backward = std::function<void(std::span<Tensor> gradients, std::span<GradientSlot> inputs)>;

  struct Node {
    const char* name;
    std::vector<SlotPtr> inputs;  ///< null where no gradient is wanted
    std::vector<SlotPtr> outputs;
    Backward backward;
  };

  /// The slot of `variable` in this graph; null if it wants no gradient.
  SlotPtr slot_of(const Variable& variable);
  void append(Node node);

  /// Runs the nodes backwards from `output`, whose gradient is `seed`, and frees each as it is done.
  void backward(const SlotPtr& output, const Tensor& seed);

  void on_gradient_ready(std::function<void(ParameterState&)> hook);
  void on_gradient_ready(const Variable& leaf, std::function<void(const Tensor& gradient)> hook);

  /// Sees each node right after it ran backwards; its inputs' slots hold what it contributed to.
  using Observer = std::function<void(const Node& node)>;
  void observe_backward(Observer observer) { observer_ = std::move(observer); }

  size_t size() const { return nodes_.size(); }

 private:
  void expect_before_backward(const char* op) const;
  void run(Node& node);
  void release_inputs(const Node& node);
  void announce(const SlotPtr& leaf);

  std::vector<Node> nodes_;
  std::unordered_map<const ParameterState*, SlotPtr> parameters_;
  std::vector<std::function<void(ParameterState&)>> parameter_hooks_;
  std::unordered_multimap<SlotPtr, std::function<void(const Tensor&)>> leaf_hooks_;
  Observer observer_;
  bool consumed_ = false;
};

}  // namespace tessera
