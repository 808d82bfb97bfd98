#include "framework/parameters/arena.h"

#include <algorithm>
#include <utility>

namespace tessera {
namespace {

constexpr int64_t kAlignmentBytes = 256;

int64_t rounded_up(int64_t size, int64_t unit) { return (size + unit - 1) / unit * unit; }

Tensor part(const Tensor& buffer, const ParameterArena::Entry& entry) {
  return buffer.slice(0, entry.begin, entry.end).view(entry.parameter->shape);
}

// Repoints the parameter to `memory`, which takes over the values that there are, or gets the first ones.
void move_into(const Tensor& memory, ParameterState& parameter, uint64_t seed) {
  const Tensor before = std::exchange(parameter.value, memory);
  ++parameter.arenas;
  if (before.defined()) memory.copy_from(before.to(memory.device()));
  else draw_initial_values(parameter, seed);
}

}  // namespace

ParameterArena::ParameterArena(std::vector<ParameterPtr> parameters, const Options& options) {
  expect(options.dtype == DType::f32 || options.dtype == DType::f64,
         "arena: master weights are float32 or float64, not {}; for 16-bit training set the mirror", options.dtype);
  expect(options.master_weights || (options.mirror == DType::bf16 && options.dtype == DType::f32),
         "arena: without master weights the mirror must be bfloat16 and the gradients float32");
  expect_distinct_names(parameters, "arena");
  const DType weight_dtype = options.master_weights ? options.dtype : DType::bf16;
  const bool mirrored = options.mirror && options.master_weights;
  std::reverse(parameters.begin(), parameters.end());
  std::stable_partition(parameters.begin(), parameters.end(),
                        [](const ParameterPtr& parameter) { return parameter->shape.rank() >= 2; });
  const int64_t alignment = kAlignmentBytes / size_of(weight_dtype);
  int64_t end = 0;
  for (const ParameterPtr& parameter : parameters) {
    if (!parameter->trainable) {  // several arenas may keep it
      frozen_.push_back(parameter);
      continue;
    }
    expect(parameter->arenas == 0, "arena: parameter '{}' already lies in an arena", parameter->name);
    const int64_t begin = end;
    entries_.push_back({parameter, begin, begin + parameter->shape.numel()});
    end = rounded_up(entries_.back().end, alignment);
    if (parameter->shape.rank() >= 2) matrices_end_ = end;
  }
  end = rounded_up(end, options.parts * kPartAlignment);
  weights_ = Tensor::zeros({end}, weight_dtype, options.device, "the weights");
  gradients_ = Tensor::zeros({end}, options.dtype, options.device, "the gradients");
  if (mirrored) mirror_ = Tensor::zeros({end}, *options.mirror, options.device, "the 16-bit weights");
  for (const Entry& entry : entries_) {
    ParameterState& parameter = *entry.parameter;
    move_into(part(weights_, entry), parameter, options.seed);
    parameter.gradient = part(gradients_, entry);
    if (mirrored) parameter.mirror = part(mirror_, entry);
  }
  for (const ParameterPtr& parameter : frozen_) {
    move_into(Tensor::empty(parameter->shape, weight_dtype, options.device), *parameter, options.seed);
  }
  refresh_mirror();
}

ParameterArena::~ParameterArena() {
  for (const Entry& entry : entries_) {
    ParameterState& parameter = *entry.parameter;
    --parameter.arenas;
    parameter.gradient = parameter.mirror = {};
    parameter.gradient_written = false;
  }
  for (const ParameterPtr& parameter : frozen_) --parameter->arenas;
}

std::vector<ArenaRange> ParameterArena::or_all(std::vector<ArenaRange> ranges) const {
  if (ranges.empty()) ranges.push_back({0, size()});
  return ranges;
}

void ParameterArena::keep_masters(const std::vector<ArenaRange>& owned) {
  expect(mirror_.defined(), "arena: its weights are {} and have no 16-bit copy that could stand for them",
         weights_.dtype());
  masters_ = Tensor::empty({total_size(owned)}, weights_.dtype(), weights_.device(), "the master weights");
  visit_parts(owned, {0, size()},
              [&](const ArenaRange& kept, int64_t offset) { trained(kept, offset).copy_from(kept.of(weights_)); });
  weights_ = std::exchange(mirror_, Tensor());
  for (const Entry& entry : entries_) {
    entry.parameter->value = part(weights_, entry);
    entry.parameter->mirror = {};
  }
}

Tensor ParameterArena::trained(const ArenaRange& part, int64_t offset) const {
  return masters_.defined() ? masters_.slice(0, offset, offset + part.size()) : part.of(weights_);
}

Tensor ParameterArena::copied(const ArenaRange& part) const {
  if (masters_.defined()) return part.of(weights_);
  return mirror_.defined() ? part.of(mirror_) : Tensor();
}

void ParameterArena::begin_window() const {
  for (const Entry& entry : entries_) entry.parameter->gradient_written = false;
}

void ParameterArena::finish_window() const {
  for (const Entry& entry : entries_) {
    if (!entry.parameter->gradient_written) entry.parameter->gradient.fill(0);
    entry.parameter->gradient_written = true;
  }
}

void ParameterArena::refresh_mirror() const {
  if (mirror_.defined()) mirror_.copy_from(weights_);
}

}  // namespace tessera
