#include "framework/tensor/caching_allocator.h"
#include "framework/tensor/device_graph.h"
#include "kernels/common/cuda/runtime.h"

namespace tessera {
namespace {

cudaStream_t stream_of(Device device) { return static_cast<cudaStream_t>(std::get<Cuda>(exec_of(device)).stream); }

/// The pool serves the device's memory while this lives.
class PoolInUse {
 public:
  PoolInUse(Device device, CachingAllocator& pool) : owner_(allocator_of(device)) { owner_.activate(&pool); }
  ~PoolInUse() { owner_.activate(nullptr); }
  PoolInUse(const PoolInUse&) = delete;
  PoolInUse& operator=(const PoolInUse&) = delete;

 private:
  CachingAllocator& owner_;
};

}  // namespace

DeviceGraph::DeviceGraph(Device device) : device_(device) {
  expect(!device.is_cpu(), "graph: the CPU records no work");
  pool_ = allocator_of(device).make_pool();
  allocator_of(device).add_pool(*pool_);
}

DeviceGraph::~DeviceGraph() {
  cudaSetDevice(device_.index);
  cudaStreamSynchronize(stream_of(device_));
  if (executable_ != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_));
  pool_->release_cached();
  allocator_of(device_).remove_pool(*pool_);
}

void DeviceGraph::rehearse(const std::function<void()>& work) {
  const PoolInUse pool(device_, *pool_);
  work();
}

void DeviceGraph::record(const std::function<void()>& work) {
  const PoolInUse pool(device_, *pool_);
  cuda_check(cudaSetDevice(device_.index), "cudaSetDevice");
  cuda_check(cudaStreamBeginCapture(stream_of(device_), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(stream_of(device_), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  cuda_check(cudaStreamEndCapture(stream_of(device_), &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  cuda_check(error, "cudaGraphInstantiate");
  executable_ = executable;
}

void DeviceGraph::replay() const {
  cuda_check(cudaSetDevice(device_.index), "cudaSetDevice");
  cuda_check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_), stream_of(device_)), "cudaGraphLaunch");
}

}  // namespace tessera
