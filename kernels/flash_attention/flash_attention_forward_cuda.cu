#include "kernels/flash_attention/cuda/dispatch.cuh"
#include "kernels/flash_attention/cuda/plain.cuh"

namespace tessera {
namespace {

using namespace plain_attention;

template <class T>
void run_plain(const FlashAttentionForward& op, Cuda cuda, const Filter& filter) {
  with_head<64, 128, 256>(op.q.shape[3], [&]<int Head>() {
    launch_grid("flash_attention", forward_kernel<T, Head>, cuda,
                {.x = pieces_of(op.q.shape[1], kTile),
                 .y = op.q.shape[2],
                 .z = op.q.shape[0],
                 .threads = kThreads,
                 .shared_bytes = sizeof(ForwardSmem<T, Head>)},
                arguments_of(op), filter);
  });
}

}  // namespace

void FlashAttentionForward::operator()(Cuda cuda) const {
  if (out.numel() == 0) return;
  if (q.dtype == DType::f64) run_plain<double>(*this, cuda, {nullptr, 1});
  else run_plain<float>(*this, cuda, {nullptr, 1});
}

AttentionPlan FlashAttentionForward::plan(Cuda) const { return {kTile, kTile, 0}; }

}  // namespace tessera
