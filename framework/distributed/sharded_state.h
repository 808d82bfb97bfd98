// ZeRO stage 1 (Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC 2020,
// section 5.1): of every bucket each rank keeps the optimizer's state for its own part. Here are the moves between
// parts and wholes; all of them are collective.
#pragma once

#include "framework/distributed/communicator.h"
#include "framework/distributed/gradient_reducer.h"
#include "framework/optim/step_control.h"

namespace tessera {

/// Every rank's part of each bucket of `buffer`, which is laid out like the arena, comes to all ranks.
void gather_parts(const Tensor& buffer, const GradientReducer& reducer, Communicator& communicator);

/// The whole of a buffer of which `mine` has the elements `owned`, one after the other; laid out like the arena, in
/// rank 0's host memory, and nothing on the other ranks. It comes bucket by bucket: nobody else needs memory for more.
Tensor gathered_on_rank_0(const Tensor& mine, const GradientReducer& reducer, Communicator& communicator);

/// Makes what each rank's scan of its part found the sum over all parts, so that every rank decides the same.
void add_up_scans(const StepControl& control, Communicator& communicator);

}  // namespace tessera
