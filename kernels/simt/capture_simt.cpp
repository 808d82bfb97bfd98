#include <memory>
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

std::unique_ptr<SimtGraph> recording;

}  // namespace

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  if (recording) return cudaErrorStreamCaptureUnsupported;
  recording = std::make_unique<SimtGraph>();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  if (!recording) return cudaErrorInvalidValue;
  *graph = recording.release();
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

bool capturing() { return recording != nullptr; }

void record(std::function<void()> work) { recording->work.push_back(std::move(work)); }

}  // namespace tessera::simt
