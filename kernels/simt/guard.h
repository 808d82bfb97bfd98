// Host code that reads or writes memory of a GPU crashes there, and would go unnoticed here. With TESSERA_SIMT_GUARD=1
// it crashes here too: device memory can be reached only while a device works.
#pragma once

#include <cstddef>

namespace tessera::simt {

/// From now on guarded.
void guard(void* begin, size_t bytes);

/// While one lives, a device works.
class DeviceWork {
 public:
  DeviceWork();
  ~DeviceWork();
  DeviceWork(const DeviceWork&) = delete;
  DeviceWork& operator=(const DeviceWork&) = delete;
};

}  // namespace tessera::simt
