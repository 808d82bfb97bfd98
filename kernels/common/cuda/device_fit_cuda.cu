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

bool is_about_the_code(cudaError_t error) {
  return error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
         error == cudaErrorUnsupportedPtxVersion;
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
  const cudaError_t error = cudaFuncGetAttributes(&attributes, probe_kernel);
  if (error == cudaSuccess) return facts;
  cudaGetLastError();  // or the next launch would report it
  facts.has_code = !is_about_the_code(error);
  if (facts.has_code) facts.trouble = cudaGetErrorString(error);
  return facts;
}

}  // namespace tessera
