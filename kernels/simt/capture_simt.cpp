#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/simt/capture.h"
#include "kernels/simt/stream.h"

struct SimtGraph {
  std::vector<std::function<void()>> work;
};
struct SimtGraphExec {
  std::vector<std::function<void()>> work;
};

namespace {

using tessera::simt::Before;

struct Capture {
  int64_t number;
  cudaStream_t origin;
  std::thread::id thread = std::this_thread::get_id();
  std::unique_ptr<SimtGraph> graph = std::make_unique<SimtGraph>();
  std::map<cudaStream_t, Before> places = {{origin, {}}};  // of the streams that take part
  bool spoiled = false;

  /// Whether all that was recorded lies before the end of the stream that began.
  bool joined() {
    return std::all_of(places.begin(), places.end(),
                       [&](auto& part) { return places[origin][part.first] == part.second[part.first]; });
  }
};

std::mutex mutex;
std::optional<Capture> under_way;
int64_t captures = 0;

}  // namespace

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const std::scoped_lock lock(mutex);
  if (under_way) return cudaErrorStreamCaptureUnsupported;
  under_way.emplace(Capture{.number = ++captures, .origin = stream});
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::scoped_lock lock(mutex);
  *graph = nullptr;
  if (!under_way || under_way->origin != stream) return cudaErrorInvalidValue;
  if (under_way->thread != std::this_thread::get_id()) return cudaErrorStreamCaptureWrongThread;
  Capture capture = *std::exchange(under_way, std::nullopt);
  if (capture.spoiled) return cudaErrorStreamCaptureInvalidated;
  if (!capture.joined()) return cudaErrorStreamCaptureUnjoined;
  *graph = capture.graph.release();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new SimtGraphExec{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const std::function<void()>& work : executable->work) tessera::simt::enqueue(stream, work);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

namespace tessera::simt {

bool capturing() {
  const std::scoped_lock lock(mutex);
  return under_way && under_way->thread == std::this_thread::get_id();
}

int64_t capture_under_way() {
  const std::scoped_lock lock(mutex);
  return under_way ? under_way->number : 0;
}

void spoil_capture() {
  const std::scoped_lock lock(mutex);
  if (under_way) under_way->spoiled = true;
}

bool takes_part(cudaStream_t stream) {
  const std::scoped_lock lock(mutex);
  return under_way && under_way->places.contains(stream);
}

void record(cudaStream_t stream, std::function<void()> work) {
  const std::scoped_lock lock(mutex);
  ++under_way->places[stream][stream];
  under_way->graph->work.push_back(std::move(work));
}

Before place_of(cudaStream_t stream) {
  const std::scoped_lock lock(mutex);
  return under_way->places[stream];
}

void put_behind(cudaStream_t stream, const Before& place) {
  const std::scoped_lock lock(mutex);
  Before& before = under_way->places[stream];
  for (const auto& [other, count] : place) before[other] = std::max(before[other], count);
}

}  // namespace tessera::simt
