// Whether a GPU, its driver and this program fit together, found out before the first kernel is launched.
#pragma once

#include <string>

namespace tessera {

/// What is known of a GPU and its driver. Versions as CUDA counts them: 13000 is 13.0.
struct DeviceFacts {
  std::string name;          ///< of the GPU
  int driver_cuda = 0;       ///< the newest CUDA that the driver supports
  int runtime_cuda = 0;      ///< the CUDA that this program was built with
  int major = 0, minor = 0;  ///< compute capability
  bool has_code = true;      ///< the program holds machine code, or PTX, for it
  std::string trouble = {};  ///< what it says instead of loading a kernel, unless it is about the code
};

/// One sentence that says what does not fit and what to do; empty where all does.
std::string misfit_of(const DeviceFacts& facts);

/// Reads them off device `index`.
DeviceFacts device_facts(int index);

}  // namespace tessera
