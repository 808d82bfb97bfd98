// Selects the kernels, as the forward does: the statistics, then dq, then dk and dv; in the atomic form the three in
// one.
#include "kernels/flash_attention/cuda/blocked.cuh"
#include "kernels/flash_attention/cuda/dispatch.cuh"
#include "kernels/flash_attention/sm80/backward_keys.cuh"
#include "kernels/flash_attention/sm80/backward_queries.cuh"

namespace tessera {
namespace {

using plain_attention::Filter;

template <class T>
void run_plain(const FlashAttentionBackward& op, Cuda cuda, const Filter& rows, const Filter& keys) {
  with_head<64, 128, 256>(op.q.shape[3], [&]<int Head>() {
    launch_grid("flash_attention_backward", plain_attention::dq_kernel<T, Head>, cuda,
                {.x = pieces_of(op.q.shape[1], rows.rows),
                 .y = op.q.shape[2],
                 .z = op.q.shape[0],
                 .threads = plain_attention::kThreads,
                 .shared_bytes = sizeof(plain_attention::DqSmem<T, Head>)},
                arguments_of(op), rows);
    launch_grid("flash_attention_backward", plain_attention::dkv_kernel<T, Head>, cuda,
                {.x = pieces_of(op.k.shape[1], keys.rows),
                 .y = op.k.shape[2],
                 .z = op.q.shape[0],
                 .threads = plain_attention::kThreads,
                 .shared_bytes = sizeof(plain_attention::DkvSmem<T, Head>)},
                arguments_of(op), keys);
  });
}

void run_blocked(const FlashAttentionBackward& op, Cuda cuda, const AttentionPlan& plan) {
  const int64_t row_tiles = pieces_of(op.q.shape[1], plan.tile_q), key_tiles = pieces_of(op.k.shape[1], plan.tile_k);
  const Scratch flags(cuda, static_cast<size_t>(plan.scratch_bytes));
  auto* row_flags = flags.as<uint8_t>();
  uint8_t* key_flags = row_flags + row_tiles * op.q.shape[2] * op.q.shape[0];
  with_head<64, 128>(op.q.shape[3], [&]<int Head>() {
    const Grid block{.threads = blocked_attention::kThreads,
                     .shared_bytes = sizeof(blocked_attention::BackwardSmem<Head>)};
    Grid rows = block, keys = block;
    rows.x = row_tiles, rows.y = op.q.shape[2], rows.z = op.q.shape[0];
    keys.x = key_tiles, keys.y = op.k.shape[2], keys.z = op.q.shape[0];
    launch_grid("flash_attention_backward", blocked_attention::dq_kernel<Head>, cuda, rows, arguments_of(op),
                row_flags);
    launch_grid("flash_attention_backward", blocked_attention::dkv_kernel<Head>, cuda, keys, arguments_of(op),
                key_flags);
  });
  run_plain<float>(op, cuda, {row_flags, plan.tile_q}, {key_flags, plan.tile_k});
}

/// f64 is there to check gradients: its tiles are what they are.
AttentionPlan plan_f64(const FlashAttentionBackward& op, Cuda cuda) {
  with_head<64, 128, 256>(op.q.shape[3], [&]<int Head>() {
    constexpr size_t kBytes = sizeof(plain_attention::DkvSmem<double, Head>);
    expect(
        block_may_share(cuda, kBytes),
        "flash_attention: the gradient of float64 heads of {} elements needs {} KiB of shared memory per block, more "
        "than cuda:{} has; use heads of up to 128 elements, float32 or device = cpu",
        op.q.shape[3], kBytes >> 10, cuda.device);
  });
  return {.tile_q = plain_attention::kTile, .tile_k = plain_attention::kTile};
}

/// Small buckets and large heads go to the small tiles of plain.cuh.
AttentionPlan plan_f32(const FlashAttentionBackward& op) {
  AttentionPlan plan{.tile_q = plain_attention::kTile, .tile_k = plain_attention::kTile};
  if (op.q.shape[3] > 128) return plan;
  with_head<64, 128>(op.q.shape[3], [&]<int Head>() {
    constexpr int kOwn = blocked_attention::Sizes<Head>::kBackwardOwn;
    if (op.options.q_bucket_size < kOwn || op.options.k_bucket_size < kOwn) return;
    plan = {.tile_q = kOwn,
            .tile_k = kOwn,
            .scratch_bytes = op.q.shape[0] * (pieces_of(op.q.shape[1], kOwn) * op.q.shape[2] +
                                              pieces_of(op.k.shape[1], kOwn) * op.k.shape[2])};
  });
  return plan;
}

/// The parts of the scratch memory of one call.
struct Workspace {
  int64_t heads;        ///< B·H
  int64_t rows, width;  ///< N and D rounded up
  int64_t sums_bytes, statistics_bytes, row_flags, key_flags;

  Workspace(const FlashAttentionBackward& op, const AttentionPlan& plan)
      : heads(op.q.shape[0] * op.q.shape[2]),
        rows(pieces_of(op.q.shape[1], sm80::kStatisticsRows) * sm80::kStatisticsRows),
        statistics_bytes(heads * rows * 4),
        row_flags(pieces_of(op.q.shape[1], plan.tile_q) * heads),
        key_flags(pieces_of(op.k.shape[1], plan.tile_k) * op.k.shape[2] * op.q.shape[0]) {
    with_compiled_head(op.q.shape[3], [&]<int Head>() { width = Head; });
    sums_bytes = plan.atomic ? heads * rows * width * 4 : 0;
  }
  int64_t bytes() const { return sums_bytes + 2 * statistics_bytes + row_flags + key_flags; }
};

/// One call on tensor cores.
struct TileCall {
  const FlashAttentionBackward& op;
  Cuda cuda;
  AttentionPlan plan;
  AttentionArguments arguments;
  sm80::Statistics statistics;
  sm80::DqSums sums;  ///< of the atomic form
  uint8_t *row_flags, *key_flags;
};

int at_most(int64_t size, int64_t compiled) { return static_cast<int>(std::min(size, compiled)); }

template <class Element, int Head, bool Extras>
void run_dq(const TileCall& call) {
  using Tiles = sm80::DqTiles<Head, Extras>;
  launch_grid("flash_attention_backward", sm80::dq_kernel<Element, Head, Extras>, call.cuda,
              {.x = pieces_of(call.op.q.shape[1], call.plan.tile_q),
               .y = call.op.q.shape[2],
               .z = call.op.q.shape[0],
               .threads = Tiles::kThreads,
               .shared_bytes = sizeof(Tiles)},
              call.arguments,
              sm80::TileSizes{static_cast<int>(call.plan.tile_q), at_most(call.plan.tile_k, Tiles::kKeys)},
              call.statistics, call.row_flags);
}

template <class Element, int Head, bool Extras, sm80::Part Wanted, bool Atomic>
void run_dkv(const TileCall& call) {
  using Tiles = sm80::DkvTiles<Head, Extras, Atomic>;
  launch_grid("flash_attention_backward", sm80::dkv_kernel<Element, Head, Extras, Wanted, Atomic>, call.cuda,
              {.x = pieces_of(call.op.k.shape[1], call.plan.tile_k),
               .y = call.op.k.shape[2],
               .z = call.op.q.shape[0],
               .threads = Tiles::kThreads,
               .shared_bytes = sizeof(Tiles)},
              call.arguments,
              sm80::TileSizes{at_most(call.plan.tile_q, Tiles::kQueries), static_cast<int>(call.plan.tile_k)},
              call.statistics, call.sums, call.key_flags);
}

template <class Element, int Head, bool Extras, bool Atomic>
void run_dkv(const TileCall& call) {
  if constexpr (Head <= 128) {
    run_dkv<Element, Head, Extras, sm80::Part::both, Atomic>(call);
  } else {
    run_dkv<Element, Head, Extras, sm80::Part::keys, Atomic>(call);
    run_dkv<Element, Head, Extras, sm80::Part::values, false>(call);
  }
}

template <class Element, int Head, bool Extras>
void run_head(const TileCall& call) {
  const FlashAttentionBackward& op = call.op;
  constexpr int kLanes = Head / 8;
  launch_grid("flash_attention_backward", sm80::statistics_kernel, call.cuda,
              {.x = op.q.shape[0] * op.q.shape[2] * call.statistics.rows * kLanes / 256}, call.arguments,
              call.statistics, kLanes);
  if (!call.plan.atomic) {
    run_dq<Element, Head, Extras>(call);
    run_dkv<Element, Head, Extras, false>(call);
    return;
  }
  const int64_t sums = op.q.shape[0] * op.q.shape[2] * call.statistics.rows * Head;
  Fill{.y = {call.sums.sums, DType::f32, {sums}, {1}}, .value = 0}(call.cuda);
  run_dkv<Element, Head, Extras, true>(call);
  launch_grid("flash_attention_backward", sm80::round_dq_kernel<Element, Head>, call.cuda,
              {.x = pieces_of(op.q.shape[1], call.plan.tile_q),
               .y = op.q.shape[2],
               .z = op.q.shape[0],
               .threads = static_cast<int>(call.plan.tile_q) * 2},
              call.arguments, call.sums, call.row_flags);
}

template <class Element, bool Extras>
void run_tiles(const FlashAttentionBackward& op, Cuda cuda) {
  expect_short_enough(op.q.shape[1], op.k.shape[1]);
  const AttentionPlan plan = op.plan(cuda);
  const Workspace parts(op, plan);
  const Scratch scratch(cuda, static_cast<size_t>(parts.bytes()));
  const AlignedRows q(op.q, cuda), k(op.k, cuda), v(op.v, cuda), dout(op.dout, cuda);
  FlashAttentionBackward aligned = op;
  aligned.q = q.view(), aligned.k = k.view(), aligned.v = v.view(), aligned.dout = dout.view();
  auto* sums = scratch.as<float>();
  float* lse = sums + parts.sums_bytes / 4;
  auto* row_flags = scratch.as<uint8_t>() + parts.sums_bytes + 2 * parts.statistics_bytes;
  const TileCall call{.op = op,
                      .cuda = cuda,
                      .plan = plan,
                      .arguments = arguments_of(aligned),
                      .statistics = {lse, lse + parts.statistics_bytes / 4, parts.rows},
                      .sums = {sums, parts.rows / 16, static_cast<int>(parts.width / 8)},
                      .row_flags = row_flags,
                      .key_flags = row_flags + parts.row_flags};
  with_compiled_head(op.q.shape[3], [&]<int Head>() { run_head<Element, Head, Extras>(call); });
  run_plain<float>(op, cuda, {row_flags, plan.tile_q}, {call.key_flags, plan.tile_k});
}

}  // namespace

void FlashAttentionBackward::operator()(Cuda cuda) const {
  if (q.dtype == DType::f64) {
    plan(cuda);
    return run_plain<double>(*this, cuda, {}, {});
  }
  if (q.dtype == DType::f32) {
    const AttentionPlan tiles = plan(cuda);
    if (tiles.scratch_bytes > 0) return run_blocked(*this, cuda, tiles);
    return run_plain<float>(*this, cuda, {}, {});
  }
  select<DType::bf16, DType::f16>("flash_attention", q.dtype, [&]<DType D>() {
    select<false, true>("flash_attention", has_extras(*this),
                        [&]<bool Extras>() { run_tiles<CppType<D>, Extras>(*this, cuda); });
  });
}

AttentionPlan FlashAttentionBackward::plan(Cuda cuda) const {
  if (q.dtype == DType::f64) return plan_f64(*this, cuda);
  if (q.dtype == DType::f32) return plan_f32(*this);
  AttentionPlan plan{};
  with_compiled_head(q.shape[3], [&]<int Head>() {
    select<false, true>("flash_attention", has_extras(*this), [&]<bool Extras>() {
      using Atomic = sm80::DkvTiles<Head, Extras, true>;
      plan.atomic = !options.deterministic && block_may_share(cuda, sizeof(Atomic));
      plan.tile_q =
          tile_within(options.q_bucket_size, plan.atomic ? Atomic::kQueries : sm80::DqTiles<Head, Extras>::kRows);
      plan.tile_k =
          tile_within(options.k_bucket_size, plan.atomic ? Atomic::kKeys : sm80::DkvTiles<Head, Extras, false>::kKeys);
    });
  });
  plan.scratch_bytes = Workspace(*this, plan).bytes();
  for (const In<4>* x : {&q, &k, &v, &dout}) plan.scratch_bytes += AlignedRows::copy_bytes(*x);
  return plan;
}

}  // namespace tessera
