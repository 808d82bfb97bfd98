#include "framework/tensor/device_graph.h"

#include "framework/tensor/caching_allocator.h"

namespace tessera {

// The CUDA build replaces these (device_graph_cuda.cpp).
#ifndef TESSERA_WITH_CUDA
DeviceGraph::DeviceGraph(Device device) : device_(device) { fail("graph: {} records no work", to_string(device)); }

DeviceGraph::~DeviceGraph() = default;

void DeviceGraph::rehearse(const std::function<void()>& work) { work(); }

void DeviceGraph::record(const std::function<void()>&) {}

void DeviceGraph::replay() const {}
#endif

}  // namespace tessera
