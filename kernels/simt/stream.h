// Streams of the emulated devices. A GPU does work at some moment between the call that asks for it and the end of the
// host's wait for it; here it is done at one end of that span, as `policy().streams` says. Late work shows what early
// work hides: memory that the host changes or reads too soon, a stream that does not wait for another.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "kernels/simt/runtime.h"

struct SimtStream {
  int device;
  std::deque<std::function<void()>> left{};  ///< work to do, oldest first
  int64_t given = 0;                         ///< pieces of work so far

  int64_t begun() const { return given - static_cast<int64_t>(left.size()); }
};

namespace tessera::simt {

/// A place in the order of a stream: behind its first `count` pieces of work.
struct Moment {
  SimtStream* stream = nullptr;
  int64_t count = 0;
};

/// A stream that lives as long as the process.
cudaStream_t make_stream(int device);

/// Gives `work` to a stream, or records it while one captures; on the null stream it is done at once. It must hold
/// copies of all that it needs.
void enqueue(cudaStream_t stream, std::function<void()> work);

/// Behind everything that `stream` was given so far.
Moment moment_of(cudaStream_t stream);
bool is_past(const Moment& moment);
/// Does what is left before `moment`, and nothing behind it. A failure is thrown, and what the stream had left is
/// dropped.
void finish(const Moment& moment);
/// Does all that is left.
void finish_all_streams();

}  // namespace tessera::simt
