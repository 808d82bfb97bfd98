#include "framework/distributed/sharded_state.h"

namespace tessera {

void gather_parts(const Tensor& buffer, const GradientReducer& reducer, Communicator& communicator) {
  Communicator::Ticket last = 0;
  for (const GradientReducer::Bucket& bucket : reducer.buckets()) {
    last = communicator.start_all_gather(bucket.range.of(buffer));
  }
  communicator.wait(last);
}

Tensor gathered(const Tensor& mine, const GradientReducer& reducer, Communicator& communicator) {
  const ArenaRange all{0, reducer.buckets().back().range.end};
  Tensor whole = Tensor::zeros({all.size()}, mine.dtype(), mine.device());
  visit_parts(reducer.owned(), all, [&](const ArenaRange& part, int64_t offset) {
    part.of(whole).copy_from(ArenaRange{offset, offset + part.size()}.of(mine));
  });
  gather_parts(whole, reducer, communicator);
  return whole;
}

void keep_own(const Tensor& whole, const Tensor& mine, const GradientReducer& reducer) {
  visit_parts(reducer.owned(), {0, whole.numel()}, [&](const ArenaRange& part, int64_t offset) {
    ArenaRange{offset, offset + part.size()}.of(mine).copy_from(part.of(whole));
  });
}

void add_up_scans(const StepControl& control, Communicator& communicator) {
  communicator.all_reduce(control.squared_norm().view({1}));
  communicator.all_reduce(control.finite().view({1}), Communicator::Reduction::min);
}

}  // namespace tessera
