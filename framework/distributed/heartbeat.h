// What this process is doing, written by whoever trains and read by whoever watches over it, from another thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace tessera {

/// The parts of a training step, and what happens between steps.
enum class Phase : int32_t { start, forward, backward, reduce, update, evaluation, save, sample, end };

class Heartbeat {
 public:
  using Listener = std::function<void(int64_t step, Phase phase)>;

  /// Tells that work goes on.
  void beat(int64_t step, Phase phase) {
    step_ = step;
    phase_ = phase;
    ++beats_;
    if (listener_) listener_(step, phase);
  }

  /// From now on `listener` is called at each beat, by the thread that beats. Set it before work begins.
  void listen(Listener listener) { listener_ = std::move(listener); }

  int64_t step() const { return step_; }
  Phase phase() const { return phase_; }
  /// Calls of `beat` so far: unchanged for long means stuck.
  int64_t beats() const { return beats_; }

 private:
  std::atomic<int64_t> step_ = 0;
  std::atomic<Phase> phase_ = Phase::start;
  std::atomic<int64_t> beats_ = 0;
  Listener listener_;
};

}  // namespace tessera
