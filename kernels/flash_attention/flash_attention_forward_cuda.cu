// Selects the kernel: 16-bit dtypes go to the tensor cores, and where their result is not finite, a second kernel
// computes the tile again by plain multiply-adds; f32 and f64 use those only.
#include "kernels/common/cuda/scratch.h"
#include "kernels/flash_attention/cuda/dispatch.cuh"
#include "kernels/flash_attention/cuda/plain.cuh"
#include "kernels/flash_attention/sm80/forward.cuh"

namespace tessera {
namespace {

using plain_attention::Filter;

template <class T>
void run_plain(const FlashAttentionForward& op, Cuda cuda, const Filter& filter) {
  with_head<64, 128, 256>(op.q.shape[3], [&]<int Head>() {
    launch_grid("flash_attention", plain_attention::forward_kernel<T, Head>, cuda,
                {.x = pieces_of(op.q.shape[1], plain_attention::kTile),
                 .y = op.q.shape[2],
                 .z = op.q.shape[0],
                 .threads = plain_attention::kThreads,
                 .shared_bytes = sizeof(plain_attention::ForwardSmem<T, Head>)},
                arguments_of(op), filter);
  });
}

template <class Element, bool Extras>
void run_tiles(const FlashAttentionForward& op, Cuda cuda) {
  const AttentionPlan plan = op.plan(cuda);
  const int64_t tiles = pieces_of(op.q.shape[1], plan.tile_q);
  const Scratch strange(cuda, static_cast<size_t>(tiles * op.q.shape[2] * op.q.shape[0]));
  with_head<32, 64, 96, 128, 192, 256>(op.q.shape[3], [&]<int Head>() {
    launch_grid("flash_attention", sm80::forward_kernel<Element, Head, Extras>, cuda,
                {.x = tiles,
                 .y = op.q.shape[2],
                 .z = op.q.shape[0],
                 .threads = static_cast<int>(plan.tile_q) * 2,
                 .shared_bytes = sizeof(sm80::ForwardTiles<Head>)},
                arguments_of(op), static_cast<int>(plan.tile_k), strange.as<uint8_t>());
  });
  run_plain<float>(op, cuda, {strange.as<uint8_t>(), plan.tile_q});
}

}  // namespace

void FlashAttentionForward::operator()(Cuda cuda) const {
  if (out.numel() == 0) return;
  if (q.dtype == DType::f64) return run_plain<double>(*this, cuda, {nullptr, 1});
  if (q.dtype == DType::f32) return run_plain<float>(*this, cuda, {nullptr, 1});
  select<DType::bf16, DType::f16>("flash_attention", q.dtype, [&]<DType D>() {
    if (AttentionRules(options, q.shape[1], k.shape[1]).has_extras()) run_tiles<CppType<D>, true>(*this, cuda);
    else run_tiles<CppType<D>, false>(*this, cuda);
  });
}

AttentionPlan FlashAttentionForward::plan(Cuda) const {
  if (!is_16bit_float(q.dtype)) return {plain_attention::kTile, plain_attention::kTile, 0};
  AttentionPlan plan{};
  with_head<32, 64, 96, 128, 192, 256>(q.shape[3], [&]<int Head>() {
    plan.tile_q = tile_within(options.q_bucket_size, sm80::ForwardTiles<Head>::kRows);
    plan.tile_k = tile_within(options.k_bucket_size, sm80::ForwardTiles<Head>::kKeys);
  });
  plan.scratch_bytes = pieces_of(q.shape[1], plan.tile_q) * q.shape[2] * q.shape[0];
  return plan;
}

}  // namespace tessera
