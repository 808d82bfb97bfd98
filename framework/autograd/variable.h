// A variable is a tensor in a computation: its value, the pass it belongs to, and the slot of its gradient if somebody
// wants one.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "framework/autograd/gradient_slot.h"
#include "framework/autograd/pass.h"

namespace tessera {

/// A value that backward will need: kept as it is, or recomputed from what its producer kept anyway.
class Saved {
 public:
  Saved() = default;
  explicit Saved(Tensor value) : value_(std::move(value)) {}
  explicit Saved(std::shared_ptr<const std::function<Tensor()>> recipe) : recipe_(std::move(recipe)) {}

  Tensor get() const { return recipe_ ? (*recipe_)() : value_; }

 private:
  Tensor value_;
  std::shared_ptr<const std::function<Tensor()>> recipe_;
};

class Variable {
 public:
  Variable() = default;  ///< no variable: an absent bias, mask or context
  /// A constant.
  Variable(Tensor value) : value_(std::move(value)) {}
  /// A parameter; it joins the tape of the activation it meets. An op that meets nothing but parameters belongs to no
  /// tape: give it `pass.parameter(w)`.
  Variable(const Parameter& parameter);
  /// A parameter that is on the tape of `pass` from the start.
  Variable(const Parameter& parameter, Pass pass) : Variable(parameter) { pass_ = std::move(pass); }
  /// An activation; ops make these through `record`.
  Variable(Tensor value, Pass pass, SlotPtr slot)
      : value_(std::move(value)), pass_(std::move(pass)), slot_(std::move(slot)) {}

  bool defined() const { return value_.defined(); }
  const Tensor& value() const { return value_; }
  /// The value in `dtype`: a parameter's low-precision mirror where the arena keeps one, else a conversion.
  Tensor value_as(DType dtype) const;
  const Shape& shape() const { return value_.shape(); }
  int64_t dim(int axis) const { return value_.dim(axis); }
  int rank() const { return value_.rank(); }
  DType dtype() const { return value_.dtype(); }
  Device device() const { return value_.device(); }

  const Pass& pass() const { return pass_; }
  const ParameterPtr& parameter() const { return parameter_; }
  const SlotPtr& slot() const { return slot_; }
  bool wants_gradient() const { return slot_ != nullptr || (parameter_ != nullptr && parameter_->trainable); }

  /// The gradient of a leaf or parameter after backward(); undefined if nothing reached it.
  Tensor gradient() const;

  /// The value for use in a backward closure: a recipe if the producer gave one, else the tensor.
  Saved saved() const { return recipe_ ? Saved(recipe_) : Saved(value_); }
  /// Lets consumers save `recipe` instead of this value; it must return the same bits.
  Variable recomputed_by(std::function<Tensor()> recipe) &&;

  /// The parameter, if any, that this constant was computed from outside of every pass: no gradient can go back there.
  const ParameterPtr& origin() const { return origin_; }
  Variable computed_from(ParameterPtr origin) && {
    origin_ = std::move(origin);
    return std::move(*this);
  }

  /// The same value, cut off from the graph.
  Variable detach() const { return {value_, pass_, nullptr}; }

 private:
  Tensor value_;
  Pass pass_;
  SlotPtr slot_;
  ParameterPtr parameter_, origin_;
  std::shared_ptr<const std::function<Tensor()>> recipe_;
};

}  // namespace tessera
