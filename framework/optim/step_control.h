// Decides each step: reads the gradients once, then clips, skips and schedules by one rule. The decision stays on the
// device; optimizers read it there.
#pragma once

#include "framework/parameters/arena.h"
#include "framework/tensor/pinned_buffer.h"
#include "kernels/advance_step/advance_step.h"

namespace tessera {

class StepControl {
 public:
  /// Throws where a number of the policy is out of range.
  explicit StepControl(Device device, const StepPolicy& policy, const StepState& initial = {});

  /// Starts a step: its loss is zero so far.
  void begin_step() const { loss().fill(0); }
  /// Adds a part of the step's mean loss, a scalar on the device.
  void add_loss(const Tensor& part) const;

  /// Scans `gradients` (contiguous) into a fresh result; `scan_more` adds further ranges.
  void scan(const Tensor& gradients) const;
  void scan_more(const Tensor& gradients) const;
  /// Takes the decision and advances the state.
  void advance() const;

  // What the device holds, as views: writing to them is enqueued like any other work.
  /// f64 []: the loss of the step so far.
  Tensor loss() const;
  /// f32 []: what the loss is multiplied by before backward.
  Tensor scale() const;
  /// f64 [] and i32 []: what the last scan found.
  Tensor squared_norm() const;
  Tensor finite() const;
  /// Takes the hold off that a skipped step left (`StepPolicy::hold_after_skip`).
  void clear_hold() const;

  /// Enqueues a copy of the state to the host; `copied` reads it once it has arrived.
  void copy_to(PinnedBuffer& buffer) const { buffer.receive(state_); }
  static StepState copied(const PinnedBuffer& buffer);

  /// For kernels.
  const StepState* device_state() const { return static_cast<const StepState*>(state_.address()); }
  /// A copy on the host. Waits for the device.
  StepState read() const;
  /// What the last scan found. Waits for the device.
  ScanResult read_scan() const;
  /// Overwrites the state: resuming, setting the loss.
  void write(const StepState& state) const;

  const StepPolicy& policy() const { return policy_; }

 private:
  StepPolicy policy_;
  Tensor state_;   // the bytes of a StepState
  Tensor result_;  // the bytes of a ScanResult
  Tensor fresh_;   // the same, of nothing scanned yet
};

}  // namespace tessera
