#include "trainers/step_graph.h"

#include <cstdio>
#include <utility>

#include "framework/tensor/allocator.h"

namespace tessera {
namespace {

constexpr int64_t kSightings = 3;  // of a shape, until it is worth recording
constexpr size_t kMostShapes = 8;  // that are kept count of: every recording holds memory

}  // namespace

StepGraph::StepGraph(Device device, uint64_t seed, std::string why_not)
    : device_(device),
      why_not_(device.is_cpu() ? "the CPU has none" : std::move(why_not)),
      uploader_(device),
      keys_(device, seed) {}

std::vector<MicroInput> StepGraph::upload(std::span<const MicroStep> steps) {
  std::vector<MicroInput> inputs;
  for (const MicroStep& step : steps) {
    const tessera::Shape shape{step.batch.rows, std::ssize(step.batch.ids) / step.batch.rows};
    inputs.push_back(
        {uploader_.upload(step.batch.ids, shape), uploader_.upload(step.batch.targets, shape), step.first_sample});
  }
  return inputs;
}

void StepGraph::run(std::span<const MicroStep> steps, int64_t iteration, double tokens, const Work& work) {
  if (!why_not_.empty()) return work(upload(steps), nullptr);
  Key key{tokens};
  for (const MicroStep& step : steps) {
    for (const int64_t number : {step.batch.rows, std::ssize(step.batch.ids), step.first_sample}) {
      key.push_back(static_cast<double>(number));
    }
  }
  if (shapes_.size() >= kMostShapes && !shapes_.contains(key)) {
    say_that_shapes_are_many();
    return work(upload(steps), nullptr);
  }
  Shape& shape = shapes_[key];
  keys_.write(iteration);
  if (++shape.seen < kSightings) return work(upload(steps), &keys_);  // which makes the sites of dropout known

  if (shape.inputs.empty()) {
    shape.inputs = upload(steps);
  } else {
    for (size_t i = 0; i < steps.size(); ++i) {
      uploader_.send(steps[i].batch.ids, shape.inputs[i].ids);
      uploader_.send(steps[i].batch.targets, shape.inputs[i].targets);
    }
  }
  const auto whole = [&] { work(shape.inputs, &keys_); };
  if (!shape.graph) {
    release_cached_memory(device_);  // what served such steps so far: from now on the pool does
    shape.graph.emplace(device_);
    shape.graph->rehearse(whole);
  } else if (shape.graph->recorded() || record(shape, whole)) {
    shape.graph->replay();
    ++replays_;
  } else {
    whole();
  }
}

void StepGraph::say_that_shapes_are_many() {
  if (std::exchange(said_many_, true)) return;
  std::fprintf(stderr,
               "cuda_graph: the steps have more than %zu shapes (rows, tokens, targets that count); those of further "
               "shapes are not recorded\n",
               kMostShapes);
}

bool StepGraph::record(Shape& shape, const std::function<void()>& work) {
  try {
    shape.graph->record(work);
    expect(keys_.complete(), "a site of dropout was not known");
    return true;
  } catch (const Error& error) {
    why_not_ = format_message("recording a step failed: {}", {error.what()});
    std::fprintf(stderr, "cuda_graph: off, because %s\n", why_not_.c_str());
    return false;
  }
}

}  // namespace tessera
