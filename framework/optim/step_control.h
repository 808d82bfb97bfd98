// Decides each step: reads the gradients once, then clips, skips and schedules by one rule. The decision stays on the
// device; optimizers read it there.
#pragma once

#include "framework/parameters/arena.h"
#include "kernels/advance_step/advance_step.h"

namespace tessera {

class StepControl {
 public:
  explicit StepControl(Device device, const StepPolicy& policy, const StepState& initial = {});

  /// Scans `gradients` (contiguous) into a fresh result; `scan_more` adds further ranges.
  void scan(const Tensor& gradients) const;
  void scan_more(const Tensor& gradients) const;
  /// Takes the decision and advances the state.
  void advance() const;

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
};

}  // namespace tessera
