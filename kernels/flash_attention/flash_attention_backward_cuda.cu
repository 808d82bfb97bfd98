// Selects the kernels, as the forward does: delta, then dq, then dk and dv.
#include "kernels/common/cuda/scratch.h"
#include "kernels/flash_attention/cuda/dispatch.cuh"
#include "kernels/flash_attention/cuda/plain.cuh"
#include "kernels/flash_attention/sm80/backward.cuh"

namespace tessera {
namespace {

using plain_attention::Filter;

template <class T>
void run_plain(const FlashAttentionBackward& op, Cuda cuda, const Filter& rows, const Filter& keys) {
  with_head<64, 128, 256>(op.q.shape[3], [&]<int Head>() {
    launch_grid("flash_attention_backward", plain_attention::dq_kernel<T, Head>, cuda,
                {.x = pieces_of(op.q.shape[1], plain_attention::kTile),
                 .y = op.q.shape[2],
                 .z = op.q.shape[0],
                 .threads = plain_attention::kThreads,
                 .shared_bytes = sizeof(plain_attention::DqSmem<T, Head>)},
                arguments_of(op), rows);
    launch_grid("flash_attention_backward", plain_attention::dkv_kernel<T, Head>, cuda,
                {.x = pieces_of(op.k.shape[1], plain_attention::kTile),
                 .y = op.k.shape[2],
                 .z = op.q.shape[0],
                 .threads = plain_attention::kThreads,
                 .shared_bytes = sizeof(plain_attention::DkvSmem<T, Head>)},
                arguments_of(op), keys);
  });
}

/// The parts of the scratch memory of one call.
struct Workspace {
  int64_t delta_bytes, row_flags, key_flags;
  Workspace(const FlashAttentionBackward& op, const AttentionPlan& plan)
      : delta_bytes(op.q.shape[0] * op.q.shape[1] * op.q.shape[2] * 4),
        row_flags(pieces_of(op.q.shape[1], plan.tile_q) * op.q.shape[2] * op.q.shape[0]),
        key_flags(pieces_of(op.k.shape[1], plan.tile_k) * op.k.shape[2] * op.q.shape[0]) {}
  int64_t bytes() const { return delta_bytes + row_flags + key_flags; }
};

template <class Element, int Head, bool Extras, sm80::Part Wanted>
void run_dkv(const FlashAttentionBackward& op, Cuda cuda, const AttentionPlan& plan, const float* delta,
             uint8_t* strange) {
  const int tile_q = static_cast<int>(std::min<int64_t>(plan.tile_q, sm80::DkvTiles<Head>::kQueries));
  launch_grid("flash_attention_backward", sm80::dkv_kernel<Element, Head, Extras, Wanted>, cuda,
              {.x = pieces_of(op.k.shape[1], plan.tile_k),
               .y = op.k.shape[2],
               .z = op.q.shape[0],
               .threads = static_cast<int>(plan.tile_k) * 2,
               .shared_bytes = sizeof(sm80::DkvTiles<Head>)},
              arguments_of(op), tile_q, delta, strange);
}

template <class Element, int Head, bool Extras>
void run_head(const FlashAttentionBackward& op, Cuda cuda, const AttentionPlan& plan, const float* delta,
              uint8_t* row_flags, uint8_t* key_flags) {
  const int tile_k = static_cast<int>(std::min<int64_t>(plan.tile_k, sm80::DqTiles<Head>::kKeys));
  launch_grid("flash_attention_backward", sm80::dq_kernel<Element, Head, Extras>, cuda,
              {.x = pieces_of(op.q.shape[1], plan.tile_q),
               .y = op.q.shape[2],
               .z = op.q.shape[0],
               .threads = static_cast<int>(plan.tile_q) * 2,
               .shared_bytes = sizeof(sm80::DqTiles<Head>)},
              arguments_of(op), tile_k, delta, row_flags);
  if constexpr (Head <= 128) {
    run_dkv<Element, Head, Extras, sm80::Part::both>(op, cuda, plan, delta, key_flags);
  } else {
    run_dkv<Element, Head, Extras, sm80::Part::keys>(op, cuda, plan, delta, key_flags);
    run_dkv<Element, Head, Extras, sm80::Part::values>(op, cuda, plan, delta, key_flags);
  }
}

template <class Element, bool Extras>
void run_tiles(const FlashAttentionBackward& op, Cuda cuda) {
  const AttentionPlan plan = op.plan(cuda);
  const Workspace parts(op, plan);
  const Scratch scratch(cuda, static_cast<size_t>(parts.bytes()));
  auto* delta = scratch.as<float>();
  auto* row_flags = scratch.as<uint8_t>() + parts.delta_bytes;
  uint8_t* key_flags = row_flags + parts.row_flags;
  launch_grid("flash_attention_backward", sm80::delta_kernel<Element>, cuda, {.x = pieces_of(parts.delta_bytes / 4, 8)},
              arguments_of(op), delta);
  with_head<32, 64, 96, 128, 192, 256>(
      op.q.shape[3], [&]<int Head>() { run_head<Element, Head, Extras>(op, cuda, plan, delta, row_flags, key_flags); });
  run_plain<float>(op, cuda, {row_flags, plan.tile_q}, {key_flags, plan.tile_k});
}

}  // namespace

void FlashAttentionBackward::operator()(Cuda cuda) const {
  if (q.dtype == DType::f64) return run_plain<double>(*this, cuda, {nullptr, 1}, {nullptr, 1});
  if (q.dtype == DType::f32) return run_plain<float>(*this, cuda, {nullptr, 1}, {nullptr, 1});
  select<DType::bf16, DType::f16>("flash_attention", q.dtype, [&]<DType D>() {
    if (AttentionRules(options, q.shape[1], k.shape[1]).has_extras()) run_tiles<CppType<D>, true>(*this, cuda);
    else run_tiles<CppType<D>, false>(*this, cuda);
  });
}

AttentionPlan FlashAttentionBackward::plan(Cuda) const {
  if (!is_16bit_float(q.dtype)) return {plain_attention::kTile, plain_attention::kTile, 0};
  AttentionPlan plan{.tile_q = tile_within(options.q_bucket_size, sm80::kOwnRows),
                     .tile_k = tile_within(options.k_bucket_size, sm80::kOwnRows),
                     .scratch_bytes = 0};
  plan.scratch_bytes = Workspace(*this, plan).bytes();
  return plan;
}

}  // namespace tessera
