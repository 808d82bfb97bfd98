#include "framework/data/batches.h"

#include <algorithm>

#include "framework/data/permutation.h"
#include "kernels/common/error.h"
#include "kernels/common/philox.h"

namespace tessera {
namespace {

/// `rows` in as few runs of at most `longest` as possible, as even as possible.
std::vector<Rows> cut(Rows rows, int64_t longest) {
  const int64_t parts = (rows.count() + longest - 1) / longest;
  std::vector<Rows> runs;
  for (int64_t part = 0; part < parts; ++part) runs.push_back(share(rows, part, parts));
  return runs;
}

}  // namespace

Rows share(Rows rows, int64_t part, int64_t parts) {
  const int64_t each = rows.count() / parts, longer = rows.count() % parts;
  const int64_t begin = rows.begin + part * each + std::min(part, longer);
  return {begin, begin + each + (part < longer ? 1 : 0)};
}

std::vector<Rows> BatchPlan::micro_batches(int64_t iteration) const {
  const int64_t all = global_batch();
  expect(all >= world,
         "batch_size {} x gradient_accumulation_steps {} cannot be split over {} ranks; raise one of them", batch_size,
         gradient_accumulation_steps, world);
  return cut(share({iteration * all, (iteration + 1) * all}, rank, world), batch_size);
}

std::vector<Rows> BatchPlan::evaluation_batches(int64_t rows) const {
  return cut(share({0, rows}, rank, world), batch_size);
}

TrainingOrder::TrainingOrder(int64_t tokens, int64_t block_size, uint64_t seed)
    : block_size_(block_size), windows_(std::max<int64_t>(1, tokens / block_size - 1)), seed_(seed) {
  shifts_ = std::min(block_size, tokens - windows_ * block_size);
}

int64_t TrainingOrder::begin(int64_t sequence) const {
  const int64_t epoch = sequence / windows_;
  const uint64_t key = mix(seed_, static_cast<uint64_t>(epoch));
  const int64_t shift = static_cast<int64_t>(mix(key, 1) % static_cast<uint64_t>(shifts_));
  return shift + Permutation(windows_, mix(key, 2))(sequence % windows_) * block_size_;
}

int64_t evaluation_windows(int64_t tokens, int64_t block_size) {
  return std::max<int64_t>(0, (tokens - 1) / block_size);
}

int64_t evaluation_begin(int64_t row, int64_t rows, int64_t tokens, int64_t block_size) {
  // In 128 bits: the product of a row and the number of windows may leave 63.
  const auto windows = static_cast<__int128>(evaluation_windows(tokens, block_size));
  return static_cast<int64_t>(row * windows / rows) * block_size;
}

}  // namespace tessera
