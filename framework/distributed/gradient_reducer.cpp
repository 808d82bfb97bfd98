#include "framework/distributed/gradient_reducer.h"

#include <algorithm>
#include <chrono>

namespace tessera {
namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::vector<ArenaRange> cut_into_buckets(const ParameterArena& arena, int64_t first_bytes, int64_t bytes,
                                         int64_t parts) {
  const int64_t unit = parts * ParameterArena::kPartAlignment;
  std::vector<ArenaRange> buckets;
  int64_t begin = 0;
  for (const ParameterArena::Entry& entry : arena.entries()) {
    // Rounded down: the rest of a gradient may wait for the next bucket, a bucket never waits for the next gradient.
    const int64_t end = entry.end / unit * unit;
    const int64_t wanted = buckets.empty() ? first_bytes : bytes;
    if ((end - begin) * size_of(arena.gradients().dtype()) < std::max<int64_t>(wanted, 1)) continue;
    buckets.push_back({begin, end});
    begin = end;
  }
  if (begin < arena.size()) buckets.push_back({begin, arena.size()});
  return buckets;
}

GradientReducer::GradientReducer(const ParameterArena& arena, Communicator& communicator, const Options& options)
    : arena_(&arena), communicator_(&communicator), options_(options) {
  const int64_t world = communicator.world();
  expect(arena.size() % (world * ParameterArena::kPartAlignment) == 0,
         "reducer: the arena's {} elements do not split over {} ranks; build it with parts = {}", arena.size(), world,
         world);
  for (const ArenaRange& range :
       cut_into_buckets(arena, options.first_bucket_bytes, options.bucket_bytes, communicator.world())) {
    buckets_.push_back({.range = range});
  }
  for (const ParameterArena::Entry& entry : arena.entries()) {
    const auto bucket_of = [&](int64_t element) {
      const auto past = std::ranges::upper_bound(buckets_, element, {}, [](const Bucket& b) { return b.range.begin; });
      return static_cast<size_t>(past - buckets_.begin() - 1);
    };
    places_[entry.parameter.get()] = {bucket_of(entry.begin), bucket_of(std::max(entry.begin, entry.end - 1))};
  }
  packed_.resize(buckets_.size());
}

void GradientReducer::begin_window() {
  arena_->begin_window();
  started_ = 0;
  missing_.assign(buckets_.size(), 0);
  for (const auto& [parameter, place] : places_) {
    for (size_t bucket = place.first; bucket <= place.second; ++bucket) ++missing_[bucket];
  }
}

void GradientReducer::listen(const Pass& pass) {
  pass.on_gradient_ready([this](ParameterState& parameter) { announce(parameter); });
}

void GradientReducer::announce(ParameterState& parameter) {
  const auto place = places_.find(&parameter);
  if (place == places_.end()) return;  // in no arena, or in another one
  if (!parameter.gradient_written) {   // announced, but no gradient came that far
    parameter.gradient.fill(0);
    parameter.gradient_written = true;
  }
  for (size_t bucket = place->second.first; bucket <= place->second.second; ++bucket) --missing_[bucket];
  while (started_ < buckets_.size() && missing_[started_] == 0) start(started_++);
}

void GradientReducer::finish_window() {
  arena_->finish_window();
  while (started_ < buckets_.size()) start(started_++);
  communicator_->wait(last_);
  if (!options_.in_bf16) return;
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) unpack(bucket);
}

void GradientReducer::start(size_t bucket) {
  Tensor gradients = buckets_[bucket].range.of(arena_->gradients());
  if (options_.in_bf16) gradients = packed_[bucket] = gradients.to(DType::bf16);
  buckets_[bucket].started = steady_seconds();
  last_ = options_.mode == Mode::all ? communicator_->start_all_reduce(gradients, Communicator::Reduction::sum)
                                     : communicator_->start_reduce_scatter(gradients);
}

void GradientReducer::unpack(size_t bucket) {
  const ArenaRange all = buckets_[bucket].range;
  const ArenaRange wanted = options_.mode == Mode::all ? all : part_of(all);
  const Tensor sums = packed_[bucket].slice(0, wanted.begin - all.begin, wanted.end - all.begin);
  wanted.of(arena_->gradients()).copy_from(sums.to(arena_->gradients().dtype()));
  packed_[bucket] = {};  // a recorded step must give back what it took
}

ArenaRange GradientReducer::part_of(const ArenaRange& bucket) const {
  const int64_t part = bucket.size() / communicator_->world();
  const int64_t begin = bucket.begin + communicator_->rank() * part;
  return {begin, begin + part};
}

std::vector<ArenaRange> GradientReducer::owned() const {
  if (options_.mode == Mode::all) return {{0, arena_->size()}};
  std::vector<ArenaRange> ranges;
  for (const Bucket& bucket : buckets_) ranges.push_back(part_of(bucket.range));
  return ranges;
}

}  // namespace tessera
