// Loss scaling for float16, by hand: gradients that would vanish in 16 bit are computed from a multiplied loss. The
// order is PyTorch's (torch.amp.GradScaler):
//
//     backward(scaler.scale(loss));             // once per micro-batch
//     UnscaleReport report = scaler.unscale(optimizer);   // optional: to look at the norm
//     scaler.step(optimizer);                   // skips where a gradient is not finite
//     scaler.update();                          // once, after all optimizers
//
// Unscaling is a factor inside the optimizer; the gradients in the arena stay scaled.
#pragma once

#include <map>
#include <string>

#include "framework/autograd/variable.h"
#include "framework/optim/optimizer.h"

namespace tessera {

/// What one optimizer's gradients look like.
struct UnscaleReport {
  bool finite = true;
  double norm = 0;  ///< L2 norm of the unscaled gradients
  float scale = 1;  ///< what the gradients in the arena are still multiplied by
  const ParameterArena* arena = nullptr;

  /// A copy of a parameter's gradient, unscaled. Throws for an unknown name.
  Tensor unscaled(const std::string& name) const;
};

class GradScaler {
 public:
  struct Options {
    bool enabled = true;  ///< false: the scale is 1 for good; non-finite steps are skipped all the same
    float init_scale = 65536;
    float growth_factor = 2;
    float backoff_factor = 0.5f;
    int32_t growth_interval = 2000;
    float min_scale = 0;
    float max_scale = 3.4028234663852886e38f;
    int32_t hysteresis = 1;              ///< non-finite updates before the scale backs off
    int32_t max_consecutive_skips = 20;  ///< `update` throws after so many skipped updates in a row; 0: never
  };
  /// What a checkpoint holds.
  struct State {
    float scale = 1;
    int32_t growth_tracker = 0;
    int32_t hysteresis_left = 1;
    int32_t consecutive_skips = 0;
  };

  GradScaler() : GradScaler(Options{}) {}
  /// Throws for factors that cannot work: growth_factor ≤ 1, backoff_factor ≥ 1…
  explicit GradScaler(const Options& options);

  /// loss × scale.
  Variable scale(const Variable& loss) const;
  /// Ends the window of `optimizer` and looks at its gradients. Once per update.
  UnscaleReport unscale(const Optimizer& optimizer);
  /// Takes the optimizer's step, or skips it. Calls `unscale` if nobody did. Returns true if weights changed.
  bool step(const Optimizer& optimizer);
  /// Moves the scale: back if any optimizer met a non-finite gradient, up after growth_interval good updates.
  void update();

  float scale_value() const { return state_.scale; }
  State state() const;
  void load_state(const State& state);

 private:
  enum class Stage { unscaled, stepped };
  struct Record {
    Stage stage;
    UnscaleReport report;
  };

  Options options_;
  StepState state_;  // only its scaling members are used
  std::map<const Optimizer*, Record> records_;
};

}  // namespace tessera
