// The part of the CUDA runtime that this library calls, on a machine without a GPU. Devices are ranges of host memory,
// as many as TESSERA_SIMT_DEVICES says (1); what a stream is given is done as stream.h tells. Names and meanings are
// those of the CUDA Runtime API reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "kernels/simt/device_memory.h"
#include "kernels/simt/keywords.h"

using cudaError_t = int;
inline constexpr cudaError_t cudaSuccess = 0;
inline constexpr cudaError_t cudaErrorInvalidValue = 1;
inline constexpr cudaError_t cudaErrorMemoryAllocation = 2;
inline constexpr cudaError_t cudaErrorInvalidDeviceFunction = 98;
inline constexpr cudaError_t cudaErrorNoKernelImageForDevice = 209;
inline constexpr cudaError_t cudaErrorUnsupportedPtxVersion = 222;
inline constexpr cudaError_t cudaErrorInvalidResourceHandle = 400;
inline constexpr cudaError_t cudaErrorNotReady = 600;
inline constexpr cudaError_t cudaErrorPeerAccessAlreadyEnabled = 704;
inline constexpr cudaError_t cudaErrorStreamCaptureUnsupported = 900;
inline constexpr cudaError_t cudaErrorStreamCaptureInvalidated = 901;
inline constexpr cudaError_t cudaErrorStreamCaptureUnjoined = 904;
inline constexpr cudaError_t cudaErrorStreamCaptureIsolation = 905;
inline constexpr cudaError_t cudaErrorCapturedEvent = 907;
inline constexpr cudaError_t cudaErrorStreamCaptureWrongThread = 908;
using cudaStream_t = struct SimtStream*;
using cudaEvent_t = struct SimtEvent*;
using cudaGraph_t = struct SimtGraph*;
using cudaGraphExec_t = struct SimtGraphExec*;
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
struct cudaDeviceProp {
  char name[256];
};
struct cudaFuncAttributes {
  int numRegs;
};
inline constexpr unsigned cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventDisableTiming = 2;

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer);
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags);
cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaMallocManaged(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMallocHost(void** memory, size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                                cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

template <class... Params>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (*)(Params...)) {
  *attributes = {};
  return cudaSuccess;
}

namespace tessera::simt {

/// What cudaGetLastError will return; returned.
cudaError_t failed(cudaError_t error);

/// Lets a device have `bytes` of memory from now on; what is allocated beyond stays. The first limit is
/// TESSERA_SIMT_MEMORY.
void set_memory_limit(int device, size_t bytes);
size_t memory_in_use(int device);

/// Lets a block share at most `bytes` from now on, as on another GPU. At first 163 KiB, as capability 8.0 has them.
void set_shared_memory_limit(size_t bytes);
size_t shared_memory_limit();

/// Whether copies from `peer` to `device` need not go by way of the host.
bool reaches_peer(int device, int peer);

/// How often the host has waited for a device, or done what makes it wait: stream and event synchronisation, copies
/// from or to host memory that is not pinned, and asking for or giving back device memory.
int64_t host_waits();

/// An event that a stream records, or waits for.
struct EventUse {
  bool recorded;
  cudaStream_t stream;
  cudaEvent_t event;
};
/// Calls `observer` at each use of an event from now on; an empty one ends that.
void observe_events(std::function<void(const EventUse& use)> observer);

/// Fails if the words of [data, data + bytes), an argument of a kernel for `device`, contain an address of another
/// device's memory or of host memory that is not pinned.
void check_arguments(const char* kernel, int device, const void* data, size_t bytes);

/// Fails unless `bytes` bytes at `address` belong to one live allocation of some device.
void check_global(const void* address, size_t bytes, const char* word);

}  // namespace tessera::simt
