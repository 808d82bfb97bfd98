#include <mutex>
#include <utility>
#include <vector>

#include "kernels/simt/capture.h"
#include "kernels/simt/guard.h"
#include "kernels/simt/policy.h"
#include "kernels/simt/stream.h"

namespace tessera::simt {
namespace {

// Work may wait for another stream.
std::recursive_mutex mutex;

std::vector<SimtStream*>& streams() {
  static std::vector<SimtStream*> all;
  return all;
}

void run(const std::function<void()>& work) {
  const DeviceWork working;
  work();
}

}  // namespace

cudaStream_t make_stream(int device) {
  const std::scoped_lock lock(mutex);
  return streams().emplace_back(new SimtStream{device});
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
  if (takes_part(stream)) return record(stream, std::move(work));
  if (stream == nullptr) return run(work);
  const std::scoped_lock lock(mutex);
  stream->left.push_back(std::move(work));
  ++stream->given;
  if (policy().streams == Streams::eager) finish(moment_of(stream));
}

Moment moment_of(cudaStream_t stream) {
  const std::scoped_lock lock(mutex);
  return {stream, stream == nullptr ? 0 : stream->given};
}

bool is_past(const Moment& moment) {
  const std::scoped_lock lock(mutex);
  return moment.stream == nullptr || moment.stream->begun() >= moment.count;
}

void finish(const Moment& moment) {
  const std::scoped_lock lock(mutex);
  while (!is_past(moment)) {
    const std::function<void()> work = std::move(moment.stream->left.front());
    moment.stream->left.pop_front();
    try {
      run(work);
    } catch (...) {
      moment.stream->left.clear();
      throw;
    }
  }
}

void finish_all_streams() {
  const std::scoped_lock lock(mutex);
  for (SimtStream* stream : streams()) finish(moment_of(stream));
}

}  // namespace tessera::simt
