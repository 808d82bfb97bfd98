// Selects the kernel: 16-bit dtypes go to the tensor cores, and where their result is not finite, a second kernel
// computes the tile again by plain multiply-adds, which are all that f64 uses; f32 has tiles of its own.
#include "kernels/flash_attention/cuda/blocked.cuh"
#include "kernels/flash_attention/cuda/dispatch.cuh"
#include "kernels/flash_attention/sm80/forward.cuh"

namespace tessera {
namespace {

using plain_attention::Filter;

template <class T>
void run_plain(const FlashAttentionForward& op, Cuda cuda, const Filter& filter) {
  with_head<64, 128, 256>(op.q.shape[3], [&]<int Head>() {
    launch_grid("flash_attention", plain_attention::forward_kernel<T, Head>, cuda,
                {.x = pieces_of(op.q.shape[1], filter.rows),
                 .y = op.q.shape[2],
                 .z = op.q.shape[0],
                 .threads = plain_attention::kThreads,
                 .shared_bytes = sizeof(plain_attention::ForwardSmem<T, Head>)},
                arguments_of(op), filter);
  });
}

void run_blocked(const FlashAttentionForward& op, Cuda cuda, const AttentionPlan& plan) {
  const int64_t tiles = pieces_of(op.q.shape[1], plan.tile_q);
  const Scratch strange(cuda, static_cast<size_t>(tiles * op.q.shape[2] * op.q.shape[0]));
  with_head<64, 128, 256>(op.q.shape[3], [&]<int Head>() {
    launch_grid("flash_attention", blocked_attention::forward_kernel<Head>, cuda,
                {.x = tiles,
                 .y = op.q.shape[2],
                 .z = op.q.shape[0],
                 .threads = blocked_attention::kThreads,
                 .shared_bytes = sizeof(blocked_attention::ForwardSmem<Head>)},
                arguments_of(op), strange.as<uint8_t>());
  });
  run_plain<float>(op, cuda, {strange.as<uint8_t>(), plan.tile_q});
}

/// Small buckets go to the small tiles of plain.cuh.
AttentionPlan plan_f32(const FlashAttentionForward& op) {
  AttentionPlan plan{.tile_q = plain_attention::kTile, .tile_k = plain_attention::kTile};
  with_head<64, 128, 256>(op.q.shape[3], [&]<int Head>() {
    using Sizes = blocked_attention::Sizes<Head>;
    if (op.options.q_bucket_size < Sizes::kForwardOwn || op.options.k_bucket_size < Sizes::kForwardWalk) return;
    plan = {.tile_q = Sizes::kForwardOwn,
            .tile_k = Sizes::kForwardWalk,
            .scratch_bytes = pieces_of(op.q.shape[1], Sizes::kForwardOwn) * op.q.shape[2] * op.q.shape[0]};
  });
  return plan;
}

template <class Element, bool Extras>
void run_tiles(const FlashAttentionForward& op, Cuda cuda) {
  expect_short_enough(op.q.shape[1], op.k.shape[1]);
  const AttentionPlan plan = op.plan(cuda);
  const int64_t tiles = pieces_of(op.q.shape[1], plan.tile_q);
  const Scratch strange(cuda, static_cast<size_t>(tiles * op.q.shape[2] * op.q.shape[0]));
  const AlignedRows q(op.q, cuda), k(op.k, cuda), v(op.v, cuda);
  FlashAttentionForward aligned = op;
  aligned.q = q.view(), aligned.k = k.view(), aligned.v = v.view();
  with_compiled_head(op.q.shape[3], [&]<int Head>() {
    launch_grid("flash_attention", sm80::forward_kernel<Element, Head, Extras>, cuda,
                {.x = tiles,
                 .y = op.q.shape[2],
                 .z = op.q.shape[0],
                 .threads = sm80::ForwardTiles<Head, Extras>::kThreads,
                 .shared_bytes = sizeof(sm80::ForwardTiles<Head, Extras>)},
                arguments_of(aligned), sm80::TileSizes{static_cast<int>(plan.tile_q), static_cast<int>(plan.tile_k)},
                strange.as<uint8_t>());
  });
  run_plain<float>(op, cuda, {strange.as<uint8_t>(), plan.tile_q});
}

}  // namespace

void FlashAttentionForward::operator()(Cuda cuda) const {
  if (out.numel() == 0) return;
  if (q.dtype == DType::f64) return run_plain<double>(*this, cuda, {});
  if (q.dtype == DType::f32) {
    const AttentionPlan tiles = plan(cuda);
    return tiles.scratch_bytes > 0 ? run_blocked(*this, cuda, tiles) : run_plain<float>(*this, cuda, {});
  }
  select<DType::bf16, DType::f16>("flash_attention", q.dtype, [&]<DType D>() {
    select<false, true>("flash_attention", has_extras(*this),
                        [&]<bool Extras>() { run_tiles<CppType<D>, Extras>(*this, cuda); });
  });
}

AttentionPlan FlashAttentionForward::plan(Cuda) const {
  if (q.dtype == DType::f64) return {.tile_q = plain_attention::kTile, .tile_k = plain_attention::kTile};
  if (q.dtype == DType::f32) return plan_f32(*this);
  AttentionPlan plan{};
  with_compiled_head(q.shape[3], [&]<int Head>() {
    select<false, true>("flash_attention", has_extras(*this), [&]<bool Extras>() {
      plan.tile_q = tile_within(options.q_bucket_size, sm80::ForwardTiles<Head, Extras>::kRows);
      plan.tile_k = tile_within(options.k_bucket_size, sm80::ForwardTiles<Head, Extras>::kKeys);
    });
  });
  plan.scratch_bytes = pieces_of(q.shape[1], plan.tile_q) * q.shape[2] * q.shape[0] + AlignedRows::copy_bytes(q) +
                       AlignedRows::copy_bytes(k) + AlignedRows::copy_bytes(v);
  return plan;
}

}  // namespace tessera
