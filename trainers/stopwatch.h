// Adds up the time that training itself takes: evaluation, saving and drawing are not counted.
#pragma once

#include <chrono>
#include <cstdint>

namespace tessera {

class Stopwatch {
 public:
  void start() { started_ = Clock::now(); }
  /// Ends a piece of work on `tokens` tokens.
  void stop(int64_t tokens) {
    const double passed = std::chrono::duration<double>(Clock::now() - started_).count();
    total_ += passed;
    lap_ += passed;
    lap_tokens_ += tokens;
  }
  /// Seconds in all.
  double seconds() const { return total_; }
  /// Tokens per second since the last `new_lap`.
  double rate() const { return lap_ > 0 ? static_cast<double>(lap_tokens_) / lap_ : 0; }
  double lap_seconds() const { return lap_; }
  void new_lap() {
    lap_ = 0;
    lap_tokens_ = 0;
  }
  /// Takes over what an interrupted run had counted.
  void add(double seconds) { total_ += seconds; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point started_;
  double total_ = 0;
  double lap_ = 0;
  int64_t lap_tokens_ = 0;
};

}  // namespace tessera
