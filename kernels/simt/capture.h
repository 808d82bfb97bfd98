// Stream capture: the work of streams that take part is recorded instead of done, and what the capturing thread may not
// do meanwhile (wait, ask for memory or for an event) is refused as CUDA refuses it, and spoils the capture.
#pragma once

#include <functional>
#include <map>

#include "kernels/simt/runtime.h"

namespace tessera::simt {

/// How much of each stream's recorded work lies before a place in a capture.
using Before = std::map<cudaStream_t, int64_t>;

/// Whether this thread captures. One thread at a time does.
bool capturing();
/// The capture under way, as a number that no other has; 0: there is none.
int64_t capture_under_way();
/// Makes the capture under way end without a graph.
void spoil_capture();

/// Whether the work of `stream` is recorded: it began the capture, or waits for an event of a stream that takes part.
bool takes_part(cudaStream_t stream);
/// Adds `work` to what the capture holds, behind what `stream` was given.
void record(cudaStream_t stream, std::function<void()> work);
/// Behind everything that `stream`, which takes part, was given so far.
Before place_of(cudaStream_t stream);
/// From now on `stream` takes part, and its work comes behind `place`.
void put_behind(cudaStream_t stream, const Before& place);

}  // namespace tessera::simt
