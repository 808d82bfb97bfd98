// Fused attention. Backward keeps q, k, v, the output and one number per row; gradients of q, k and v that came as
// views of one projection are laid out like it, so they can be handed back as one tensor.
#include "kernels/flash_attention/flash_attention.h"

#include <cmath>

#include "framework/ops.h"
#include "kernels/memory/memory.h"

namespace tessera::ops {
namespace {

void check(const Variable& q, const Variable& k, const Variable& v) {
  expect(q.rank() == 4 && k.rank() == 4 && v.shape() == k.shape(),
         "flash_attention: q must be [B, N, H, D], k and v [B, M, KvH, D]; they are {}, {} and {}", q.shape(),
         k.shape(), v.shape());
  expect(q.dim(0) == k.dim(0), "flash_attention: q has a batch of {}, k of {}", q.dim(0), k.dim(0));
  expect(q.dim(3) == k.dim(3), "flash_attention: q has head size {}, k has {}", q.dim(3), k.dim(3));
  expect(q.dim(3) >= 1 && q.dim(3) <= 256, "flash_attention: head size {} is not supported; use 1 to 256", q.dim(3));
  expect(k.dim(2) > 0 && q.dim(2) % k.dim(2) == 0, "flash_attention: {} query heads cannot share {} key heads evenly",
         q.dim(2), k.dim(2));
  expect(is_floating(q.dtype()) && q.dtype() == k.dtype() && q.dtype() == v.dtype(),
         "flash_attention: q, k and v must share one floating dtype; they are {}, {} and {}", q.dtype(), k.dtype(),
         v.dtype());
  expect(q.device() == k.device() && q.device() == v.device(), "flash_attention: q, k and v lie on different devices");
}

void check(const FlashAttentionOptions& options, const Variable& q) {
  expect(options.scale >= 0 && std::isfinite(options.scale), "flash_attention: scale must be positive, not {}",
         options.scale);
  expect(options.window >= 0, "flash_attention: window must be 0 (no limit) or more, not {}", options.window);
  expect(options.softcap >= 0, "flash_attention: softcap must be 0 (off) or more, not {}", options.softcap);
  expect(options.dropout >= 0 && options.dropout < 1, "flash_attention: dropout must lie in [0, 1), not {}",
         options.dropout);
  expect(options.q_bucket_size >= 1 && options.k_bucket_size >= 1,
         "flash_attention: bucket sizes must be at least 1, not {} and {}", options.q_bucket_size,
         options.k_bucket_size);
  const Tensor& slopes = options.alibi_slopes;
  expect(!slopes.defined() || (slopes.dtype() == DType::f32 && slopes.shape() == Shape{q.dim(2)}),
         "flash_attention: alibi_slopes must be float32 [{}], one per head", q.dim(2));
}

Tensor to_boolean(const Tensor& mask) {
  if (mask.dtype() == DType::boolean) return mask;
  const Tensor source = mask.to_contiguous();
  const Tensor boolean = Tensor::empty(mask.shape(), DType::boolean, mask.device());
  const Tensor not_binary = Tensor::zeros({1}, DType::i32, mask.device());
  launch(
      ToMask{
          .x = source.view({-1}).in<1>(), .y = boolean.view({-1}).out<1>(), .not_binary = not_binary.data<int32_t>()},
      exec_of(mask.device()));
  expect(
      not_binary.item() == 0,
      "flash_attention: the {} mask holds values other than 0 and 1; a mask says true = attend, it is not added to the "
      "scores",
      mask.dtype());
  return boolean;
}

// The mask as four axes, stretched over [B, H, N, M].
Tensor full_mask(const Tensor& mask, const Shape& full) {
  if (!mask.defined()) return {};
  Tensor boolean = to_boolean(mask);
  if (boolean.rank() == 2) {
    expect(boolean.shape() == (Shape{full[0], full[3]}),
           "flash_attention: a mask of two axes is a key mask [batch, keys] = [{}, {}], not {}", full[0], full[3],
           mask.shape());
    boolean = boolean.view({full[0], 1, 1, full[3]});
  }
  bool fits = boolean.rank() == 4;
  for (int i = 0; fits && i < 4; ++i) fits = boolean.dim(i) == 1 || boolean.dim(i) == full[i];
  expect(fits, "flash_attention: the mask {} does not fit {}; each extent must be 1 or full", mask.shape(), full);
  return boolean.expand(full);
}

Tensor segments(const char* name, const Tensor& ids, int64_t batch, int64_t length) {
  expect(!ids.defined() || (ids.dtype() == DType::i32 && ids.shape() == (Shape{batch, length})),
         "flash_attention: {} must be int32 [{}, {}]", name, batch, length);
  return ids;
}

/// Tensors that the kernel's options point into.
struct Masks {
  Tensor mask, q_segments, k_segments, slopes;
};

Masks prepare_masks(const Variable& q, const Variable& k, const FlashAttentionOptions& options) {
  const int64_t batch = q.dim(0);
  Masks masks{.mask = full_mask(options.mask, {batch, q.dim(2), q.dim(1), k.dim(1)}),
              .q_segments = segments("q_segments", options.q_segments, batch, q.dim(1)),
              .k_segments = segments("k_segments", options.k_segments, batch, k.dim(1)),
              .slopes = options.alibi_slopes};
  if (masks.q_segments.defined() && !masks.k_segments.defined()) {
    masks.k_segments = segments("q_segments, used for the keys too,", options.q_segments, batch, k.dim(1));
  }
  expect(masks.q_segments.defined() == masks.k_segments.defined(), "flash_attention: k_segments need q_segments");
  return masks;
}

AttentionOptions kernel_options(const Variable& q, const Pass& pass, const FlashAttentionOptions& options,
                                const Masks& masks) {
  const bool drops = options.dropout > 0 && pass.training();
  return {.scale = options.scale > 0 ? options.scale : 1 / std::sqrt(static_cast<double>(q.dim(3))),
          .causal = options.causal,
          .window_left = options.window > 0 ? options.window - 1 : -1,
          .window_right = options.window > 0 ? options.window - 1 : -1,
          .softcap = options.softcap,
          .alibi_slopes = masks.slopes.in<1>(),
          .mask = masks.mask.in<4>(),
          .q_segments = masks.q_segments.in<2>(),
          .k_segments = masks.k_segments.in<2>(),
          .dropout = drops ? static_cast<float>(options.dropout) : 0.0f,
          .dropout_key = drops ? pass.key(options.site.hash) : 0,
          .first_sample = drops ? pass.options().first_sample : 0,
          .q_bucket_size = options.q_bucket_size,
          .k_bucket_size = options.k_bucket_size};
}

/// q, k and v, or their gradients.
struct Triple {
  Tensor q, k, v;
};

// Memory for the gradients. Heads of one projection, [B, N, rows of heads, D] cut into three, get it back in one piece.
Triple gradients_like(const Triple& x) {
  const bool joint = x.q.shares_memory_with(x.k) && x.k.shares_memory_with(x.v) && x.q.dim(1) == x.k.dim(1) &&
                     x.q.strides() == x.k.strides() && x.k.strides() == x.v.strides();
  const int64_t heads = x.q.dim(2) + 2 * x.k.dim(2);
  if (!joint || x.q.strides()[1] != heads * x.q.dim(3)) return {empty_like(x.q), empty_like(x.k), empty_like(x.v)};
  const Tensor whole = Tensor::empty(x.q.shape().with(2, heads), x.q.dtype(), x.q.device());
  const int64_t first = std::min({x.q.offset(), x.k.offset(), x.v.offset()});
  const auto part = [&](const Tensor& like) {
    const int64_t head = (like.offset() - first) / like.dim(3);
    return whole.slice(2, head, head + like.dim(2));
  };
  return {part(x.q), part(x.k), part(x.v)};
}

}  // namespace

Variable flash_attention(const Variable& q, const Variable& k, const Variable& v,
                         const FlashAttentionOptions& options) {
  check(q, k, v);
  check(options, q);
  const Masks masks = prepare_masks(q, k, options);
  const AttentionOptions kernel =
      kernel_options(q, detail::common_pass("flash_attention", {{&q, &k, &v}}), options, masks);
  const Tensor out = Tensor::empty(q.shape(), q.dtype(), q.device());
  const Tensor lse = Tensor::empty({q.dim(0), q.dim(2), q.dim(1)}, accumulate_dtype(q.dtype()), q.device());
  launch(FlashAttentionForward{.q = q.value().in<4>(),
                               .k = k.value().in<4>(),
                               .v = v.value().in<4>(),
                               .options = kernel,
                               .out = out.out<4>(),
                               .lse = lse.out<3>()},
         exec_of(out.device()));

  auto backward = [x = Triple{q.value(), k.value(), v.value()}, out, lse, kernel, masks](
                      const Tensor& dy, GradientSlot dq, GradientSlot dk, GradientSlot dv) {
    const Triple dx = gradients_like(x);
    launch(FlashAttentionBackward{.dout = dy.in<4>(),
                                  .q = x.q.in<4>(),
                                  .k = x.k.in<4>(),
                                  .v = x.v.in<4>(),
                                  .out = out.in<4>(),
                                  .lse = lse.in<3>(),
                                  .options = kernel,
                                  .dq = dx.q.out<4>(),
                                  .dk = dx.k.out<4>(),
                                  .dv = dx.v.out<4>()},
           exec_of(dy.device()));
    dq.add(dx.q);
    dk.add(dx.k);
    dv.add(dx.v);
  };
  return record("flash_attention", out, std::move(backward), q, k, v);
}

AttentionPlan flash_attention_plan(const Shape& q, const Shape& k, DType dtype, Device device,
                                   const FlashAttentionOptions& options) {
  const auto extents = [dtype](const Shape& shape) {
    return In<4>{.dtype = dtype, .shape = {shape[0], shape[1], shape[2], shape[3]}};
  };
  FlashAttentionForward kernel{
      .q = extents(q), .k = extents(k), .v = extents(k), .options = {.scale = 1}, .out = {}, .lse = {}};
  kernel.options.causal = options.causal;
  kernel.options.window_left = kernel.options.window_right = options.window > 0 ? options.window - 1 : -1;
  kernel.options.q_bucket_size = options.q_bucket_size;
  kernel.options.k_bucket_size = options.k_bucket_size;
  return std::visit([&](auto where) { return kernel.plan(where); }, exec_of(device));
}

}  // namespace tessera::ops
