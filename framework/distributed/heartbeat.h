// What this process is doing, written by whoever trains and read by whoever watches over it, from another thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace tessera {

/// The parts of a training step, and what happens between steps.
enum class Phase : int32_t { start, forward, backward, reduce, update, evaluation, save, sample, end };

class Heartbeat {
 public:
  /// Tells that work goes on.
  void beat(int64_t step, Phase phase) {
    step_ = step;
    phase_ = phase;
    ++beats_;
  }

  int64_t step() const { return step_; }
  Phase phase() const { return phase_; }
  /// Calls of `beat` so far: unchanged for long means stuck.
  int64_t beats() const { return beats_; }

 private:
  std::atomic<int64_t> step_ = 0;
  std::atomic<Phase> phase_ = Phase::start;
  std::atomic<int64_t> beats_ = 0;
};

}  // namespace tessera
