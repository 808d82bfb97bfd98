// What a device is, and what it has been allowed.
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "kernels/common/error.h"
#include "kernels/simt/device_memory.h"
#include "kernels/simt/launch.h"
#include "kernels/simt/runtime.h"

namespace {

using tessera::simt::failed;

constexpr size_t kSharedUnasked = 48 << 10;
std::atomic<size_t> shared_limit{163 << 10};

std::mutex mutex;
std::map<std::pair<const void*, int>, size_t> shared_by_kernel;  // and device
std::set<std::pair<int, int>> peers;                             // device, whose memory it reaches

int current_device() {
  int device = 0;
  cudaGetDevice(&device);
  return device;
}

bool are_two_devices(int one, int other) {
  const auto count = static_cast<int>(tessera::simt::device_memories().size());
  return one >= 0 && one < count && other >= 0 && other < count && one != other;
}

}  // namespace

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = 4; break;
    case cudaDevAttrComputeCapabilityMajor: *value = 8; break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(shared_limit); break;
  }
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"emulated device"};
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  if (value < 0 || static_cast<size_t>(value) > shared_limit) return failed(cudaErrorInvalidValue);
  const std::scoped_lock lock(mutex);
  shared_by_kernel[{kernel, current_device()}] = static_cast<size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  *can = are_two_devices(device, peer) ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  if (!are_two_devices(current_device(), peer)) return failed(cudaErrorInvalidValue);
  const std::scoped_lock lock(mutex);
  return peers.insert({current_device(), peer}).second ? cudaSuccess : failed(cudaErrorPeerAccessAlreadyEnabled);
}

namespace tessera::simt {

void set_shared_memory_limit(size_t bytes) { shared_limit = bytes; }

size_t shared_memory_limit() { return shared_limit; }

bool reaches_peer(int device, int peer) {
  const std::scoped_lock lock(mutex);
  return peers.contains({device, peer});
}

void check_shared_memory(const char* name, const void* kernel, int device, size_t bytes) {
  const std::scoped_lock lock(mutex);
  const auto found = shared_by_kernel.find({kernel, device});
  const size_t most = found == shared_by_kernel.end() ? kSharedUnasked : found->second;
  expect(bytes <= most, "{}: a block of {} bytes of shared memory, of which the kernel may have {}", name, bytes, most);
}

}  // namespace tessera::simt
