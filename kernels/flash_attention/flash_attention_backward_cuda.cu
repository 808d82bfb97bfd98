#include "kernels/flash_attention/cuda/dispatch.cuh"
#include "kernels/flash_attention/cuda/plain.cuh"

namespace tessera {
namespace {

using namespace plain_attention;

template <class T>
void run_plain(const FlashAttentionBackward& op, Cuda cuda, const Filter& rows, const Filter& keys) {
  with_head<64, 128, 256>(op.q.shape[3], [&]<int Head>() {
    launch_grid("flash_attention_backward", dq_kernel<T, Head>, cuda,
                {.x = pieces_of(op.q.shape[1], kTile),
                 .y = op.q.shape[2],
                 .z = op.q.shape[0],
                 .threads = kThreads,
                 .shared_bytes = sizeof(DqSmem<T, Head>)},
                arguments_of(op), rows);
    launch_grid("flash_attention_backward", dkv_kernel<T, Head>, cuda,
                {.x = pieces_of(op.k.shape[1], kTile),
                 .y = op.k.shape[2],
                 .z = op.q.shape[0],
                 .threads = kThreads,
                 .shared_bytes = sizeof(DkvSmem<T, Head>)},
                arguments_of(op), keys);
  });
}

}  // namespace

void FlashAttentionBackward::operator()(Cuda cuda) const {
  if (q.dtype == DType::f64) run_plain<double>(*this, cuda, {nullptr, 1}, {nullptr, 1});
  else run_plain<float>(*this, cuda, {nullptr, 1}, {nullptr, 1});
}

AttentionPlan FlashAttentionBackward::plan(Cuda) const { return {kTile, kTile, 0}; }

}  // namespace tessera
