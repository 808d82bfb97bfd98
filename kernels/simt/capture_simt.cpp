#include <memory>
#include <vector>

#include "kernels/simt/capture.h"
#include "kernels/simt/guard.h"
#include "kernels/simt/runtime.h"

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
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  for (const std::function<void()>& work : executable->work) tessera::simt::enqueue(work);
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

void enqueue(std::function<void()> work) {
  if (recording) {
    recording->work.push_back(std::move(work));
    return;
  }
  const DeviceWork working;
  work();
}

}  // namespace tessera::simt
