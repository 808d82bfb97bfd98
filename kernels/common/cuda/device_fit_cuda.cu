#include "kernels/common/cuda/device_fit.h"
#include "kernels/common/cuda/launch.cuh"

namespace tessera {
namespace {

__global__ void probe_kernel() {}

int attribute(cudaDeviceAttr name, int index) {
  int value = 0;
  cuda_check(cudaDeviceGetAttribute(&value, name, index), "cudaDeviceGetAttribute");
  return value;
}

}  // namespace

// Asking for a kernel's attributes loads it, which fails where the program holds no code for the device.
DeviceFacts device_facts(int index) {
  DeviceFacts facts;
  cudaDeviceProp properties{};
  cuda_check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  facts.name = properties.name;
  facts.major = attribute(cudaDevAttrComputeCapabilityMajor, index);
  facts.minor = attribute(cudaDevAttrComputeCapabilityMinor, index);
  cuda_check(cudaDriverGetVersion(&facts.driver_cuda), "cudaDriverGetVersion");
  cuda_check(cudaRuntimeGetVersion(&facts.runtime_cuda), "cudaRuntimeGetVersion");
  cuda_check(cudaSetDevice(index), "cudaSetDevice");
  cudaFuncAttributes attributes{};
  facts.has_code = cudaFuncGetAttributes(&attributes, probe_kernel) == cudaSuccess;
  if (!facts.has_code) cudaGetLastError();  // or the next launch would report it
  return facts;
}

}  // namespace tessera
