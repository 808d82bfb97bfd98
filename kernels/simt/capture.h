// Stream capture: while a stream captures, work is recorded instead of done, and whatever would make the host wait, or
// ask for memory, is refused as CUDA refuses it.
#pragma once

#include <functional>

namespace tessera::simt {

/// Whether a stream captures. One at a time does.
bool capturing();

/// Adds `work` to what the capture holds.
void record(std::function<void()> work);

}  // namespace tessera::simt
