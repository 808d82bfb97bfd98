#include "framework/distributed/sharded_state.h"

#include <algorithm>

namespace tessera {

void gather_parts(const Tensor& buffer, const GradientReducer& reducer, Communicator& communicator) {
  Communicator::Ticket last = 0;
  for (const GradientReducer::Bucket& bucket : reducer.buckets()) {
    last = communicator.start_all_gather(bucket.range.of(buffer));
  }
  communicator.wait(last);
}

Tensor gathered_on_rank_0(const Tensor& mine, const GradientReducer& reducer, Communicator& communicator) {
  int64_t longest = 0;
  for (const GradientReducer::Bucket& bucket : reducer.buckets()) longest = std::max(longest, bucket.range.size());
  const Tensor space = Tensor::empty({longest}, mine.dtype(), mine.device(), "a bucket on its way to a checkpoint");
  Tensor whole;
  if (communicator.rank() == 0) whole = Tensor::empty({reducer.buckets().back().range.end}, mine.dtype());
  for (const GradientReducer::Bucket& bucket : reducer.buckets()) {
    const Tensor all = space.slice(0, 0, bucket.range.size());
    visit_parts(reducer.owned(), bucket.range, [&](const ArenaRange& part, int64_t offset) {
      const int64_t begin = part.begin - bucket.range.begin;
      all.slice(0, begin, begin + part.size()).copy_from(mine.slice(0, offset, offset + part.size()));
    });
    communicator.all_gather(all);
    if (whole.defined()) bucket.range.of(whole).copy_from(all.to(Device::cpu()));
  }
  return whole;
}

void add_up_scans(const StepControl& control, Communicator& communicator) {
  communicator.all_reduce(control.squared_norm().view({1}));
  communicator.all_reduce(control.finite().view({1}), Communicator::Reduction::min);
}

}  // namespace tessera
