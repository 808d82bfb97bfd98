// What a training will take, found by trying a few rows of it: memory, and the time of a step.
#include <algorithm>
#include <cstdlib>

#include "framework/tensor/allocator.h"
#include "trainers/stopwatch.h"
#include "trainers/trainer.h"

namespace tessera {
namespace {

// The token ids of the other micro-batches of a step, which all lie ready before the first is computed; on the CPU once
// as loaded and once as tensors.
int64_t waiting_bytes(const DataSet& data, bool on_cpu) {
  const std::vector<Rows> micro_batches = data.micro_batches(0);
  const int64_t rows = micro_batches.back().end - micro_batches.front().end;
  const int64_t ids_and_targets = 2 * static_cast<int64_t>(sizeof(int32_t));
  return rows * data.block_size() * ids_and_targets * (on_cpu ? 2 : 1);
}

}  // namespace

int64_t Trainer::predict_memory() const {
  const auto peak_of = [this](int64_t rows) {
    rehearse(rows);
    return allocator_stats(device_).peak_bytes;
  };
  // Once rows outweigh what a batch of any size takes, such as the scratch memory of each thread, all take the same.
  int64_t rows = 1, peak = peak_of(rows), per_row = 0;
  for (bool steady = false; !steady && rows < config_.batch_size;) {
    const int64_t more = std::min(2 * rows, config_.batch_size), higher = peak_of(more);
    const int64_t now = (higher - peak) / (more - rows);
    steady = per_row > 0 && std::abs(now - per_row) <= per_row / 50;
    rows = more, peak = higher, per_row = now;
  }
  return peak + (config_.batch_size - rows) * per_row + waiting_bytes(data_, device_.is_cpu());
}

double Trainer::rehearse(int64_t rows) const {
  Stopwatch watch;
  Rows some = data_.micro_batches(0).front();
  some.end = std::min(some.end, some.begin + rows);
  for (int i = 0; i < 2; ++i) {
    const Batch batch = data_.training_batch(some);
    const Pass pass = Pass::recording({.seed = static_cast<uint64_t>(config_.seed)});
    watch = {};
    watch.start();
    arena_.begin_window();
    backward(forward(pass, batch, 0), state_.scale);
    watch.stop(0);
  }
  return watch.seconds();
}

}  // namespace tessera
