// A parameter is a handle to shared state: a name, values and a gradient. An arena moves the values of a whole model
// into one buffer by repointing that state, so every handle follows.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "framework/tensor/tensor.h"

namespace tessera {

/// How a parameter's first values are drawn.
struct Init {
  enum class Kind { zeros, ones, normal, uniform };
  Kind kind = Kind::zeros;
  double scale = 0;  ///< standard deviation (normal) or bound (uniform)

  static Init zeros() { return {}; }
  static Init ones() { return {Kind::ones, 1}; }
  static Init normal(double standard_deviation) { return {Kind::normal, standard_deviation}; }
  static Init uniform(double bound) { return {Kind::uniform, bound}; }
};

/// What all handles of one parameter share.
struct ParameterState {
  std::string name;  ///< the path from the model's root: "blocks.0.attention.to_q.weight"
  Shape shape;
  Init init;
  bool trainable = true;
  Tensor value;                   ///< the master weights
  Tensor mirror;                  ///< the same in 16 bit, where an arena keeps it
  Tensor gradient;                ///< in the dtype of `value`; allocated by the arena or on first use
  bool gradient_written = false;  ///< false: the next contribution of this window writes instead of adding
  int arenas = 0;                 ///< that hold the values, or keep them beside them as those of a frozen one
};

using ParameterPtr = std::shared_ptr<ParameterState>;

/// A module's member. Moves but does not copy, so that two modules share weights only where the code says `share()`.
class Parameter {
 public:
  Parameter() = default;  ///< no parameter: an absent bias
  Parameter(const Shape& shape, Init init) : state_(std::make_shared<ParameterState>()) {
    state_->shape = shape;
    state_->init = init;
  }
  explicit Parameter(ParameterPtr state) : state_(std::move(state)) {}
  Parameter(Parameter&&) = default;
  Parameter& operator=(Parameter&&) = default;

  /// A second handle to the same weights.
  Parameter share() const { return Parameter(state_); }

  explicit operator bool() const { return state_ != nullptr; }
  // Where there is no parameter, these throw.
  const std::string& name() const { return present().name; }
  const Shape& shape() const { return present().shape; }
  /// The master weights. Throws before `initialize` or a ParameterArena gave them values.
  const Tensor& value() const;
  /// What the backward passes since the window began have added up to. Before the first of them: in an arena what its
  /// buffer holds, zeros or the last window's sum; outside of one undefined, or the last sum.
  const Tensor& gradient() const { return present().gradient; }
  /// Frozen parameters get no gradient and lie outside the arena. Throws once an arena has been built.
  void set_trainable(bool trainable) const;
  const ParameterPtr& state() const { return state_; }

 private:
  ParameterState& present() const;

  ParameterPtr state_;
};

/// Makes the mirror, if there is one, that of the value, after this was written by anything but an optimizer.
void refresh_mirror(const ParameterState& state);

/// Throws unless each of `parameters` has a name of its own, which a checkpoint and first values need; `op` opens the
/// message.
void expect_distinct_names(std::span<const ParameterPtr> parameters, std::string_view op);

/// Draws the first values of `state` into `state.value`, which must be allocated: a pure function of seed and name.
void draw_initial_values(ParameterState& state, uint64_t seed);

/// A 64-bit hash (FNV-1a) of a path: keys initial values and dropout sites.
uint64_t hash_path(std::string_view path);

}  // namespace tessera
