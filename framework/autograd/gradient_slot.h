// Where the gradient of one input collects. A backward closure gets one slot per input and either hands over a finished
// tensor or asks for a target to add into in place.
#pragma once

#include <memory>

#include "framework/parameters/parameter.h"

namespace tessera {

/// Memory to compute a gradient into: `beta` 0 writes, 1 accumulates.
struct GradientTarget {
  Tensor tensor;
  float beta = 0;
};

/// What the slots of one value share. Slots know no nodes, so no cycle can form.
struct SlotState {
  const char* producer = "input";  ///< the op that made the value
  Shape shape;
  DType dtype = DType::f32;
  Device device;
  Tensor gradient;         ///< undefined until the first contribution (unused for parameters)
  ParameterPtr parameter;  ///< set for a parameter: its own gradient view is the memory
  bool leaf = false;       ///< keeps its gradient after backward()
  int64_t pending = 0;     ///< recorded nodes that may still contribute (leaves only)
};

using SlotPtr = std::shared_ptr<SlotState>;

class GradientSlot {
 public:
  GradientSlot() = default;  ///< nobody wants this gradient
  explicit GradientSlot(SlotPtr state) : state_(std::move(state)) {}

  /// Of the gradient: the value's, or for a parameter in an arena that of the arena's gradients.
  DType dtype() const;

  /// False: computing this gradient would be wasted work.
  bool wanted() const { return state_ != nullptr; }

  /// What has been contributed so far; undefined if nothing.
  Tensor arrived() const;

  /// Contributes `gradient`, of the value's shape and of `dtype()`, or of a 16-bit parameter's own. The first
  /// contribution is kept by reference; memory that somebody else still sees is never added into.
  void add(const Tensor& gradient);

  /// Memory of the value's shape to write to (beta 0) or accumulate into (beta 1).
  GradientTarget target();

  /// Gives what arrived contiguous memory of its own, if it has none, so that it may be changed in place.
  void keep_apart();

 private:
  SlotPtr state_;
};

}  // namespace tessera
