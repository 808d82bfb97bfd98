// Memory for one call of a kernel, on its device and stream. The framework's allocator provides it: kernels know
// nothing of caches, and the framework installs itself before the first launch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/exec.h"

namespace tessera {

/// Where scratch memory comes from and goes to. A block that is given back may be used again by later work of the same
/// stream.
struct ScratchSource {
  void* (*take)(int device, size_t bytes);
  void (*give_back)(int device, void* block, size_t bytes) noexcept;
};
void set_scratch_source(ScratchSource source);

/// Memory of that source that is never given back: what a library keeps for itself.
void* take_for_good(int device, size_t bytes);

class Scratch {
 public:
  Scratch(Cuda cuda, size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T>
  T* as() const {
    return static_cast<T*>(block_);
  }

 private:
  int device_;
  size_t bytes_;
  void* block_;
};

}  // namespace tessera
