// Fused attention. Backward keeps q, k, v, the output and one number per row; gradients of q, k and v that came as
// views of one projection are laid out like it, so they can be handed back as one tensor.
#include "kernels/flash_attention/flash_attention.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "framework/ops.h"
#include "framework/ops/one_device.h"
#include "kernels/elementwise/mul.h"
#include "kernels/gradient_scan/range_factor.h"
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
  expect_one_device("flash_attention", {&q, &k, &v});
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
  const DType core = options.compute_dtype.value_or(q.dtype());
  expect(core == q.dtype() || (is_16bit_float(core) && !is_16bit_float(q.dtype())),
         "flash_attention: compute_dtype narrows to bfloat16 or float16; {} inputs cannot be computed with in {}",
         q.dtype(), core);
  const Tensor& slopes = options.alibi_slopes;
  expect(!slopes.defined() || (slopes.dtype() == DType::f32 && slopes.shape() == Shape{q.dim(2)}),
         "flash_attention: alibi_slopes must be float32 [{}], one per head", q.dim(2));
}

Tensor to_boolean(const Tensor& mask) {
  if (mask.dtype() == DType::boolean) return mask;
  const Tensor source = mask.to_contiguous();
  Tensor boolean = Tensor::empty(mask.shape(), DType::boolean, mask.device());
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
  expect(
      fits,
      "flash_attention: the mask {} does not fit {}; it needs four axes [batch, heads, queries, keys], each 1 or full",
      mask.shape(), full);
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
  const auto here = [&](const Tensor& x) { return x.defined() ? x.to(q.device()) : x; };
  Masks masks{.mask = full_mask(here(options.mask), {batch, q.dim(2), q.dim(1), k.dim(1)}),
              .q_segments = segments("q_segments", here(options.q_segments), batch, q.dim(1)),
              .k_segments = segments("k_segments", here(options.k_segments), batch, k.dim(1)),
              .slopes = here(options.alibi_slopes)};
  if (masks.q_segments.defined() && !masks.k_segments.defined()) {
    masks.k_segments = segments("q_segments, used for the keys too,", here(options.q_segments), batch, k.dim(1));
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
          .dropout_key = drops ? pass.key(options.site.hash) : RandomKey(),
          .first_sample = drops ? pass.options().first_sample + options.first_sample : 0,
          .first_head = options.first_head,
          .q_bucket_size = options.q_bucket_size,
          .k_bucket_size = options.k_bucket_size,
          .deterministic = options.deterministic};
}

/// q, k and v, or their gradients.
struct Triple {
  Tensor q, k, v;
};

/// How the gradients of q, k and v lie in memory.
struct Layout {
  Shape q, k;  // of q; of k and v
  DType dtype;
  Device device;
  bool joint;  // cut from one [B, N, heads, D], as q, k and v were: each head once
  int64_t q_head, k_head, v_head;
};

/// Whether the heads of the parts, in the order of their offsets, lie one behind the other.
bool follow_each_other(std::array<const Tensor*, 3> parts) {
  std::ranges::sort(parts, {}, &Tensor::offset);
  const auto end = [](const Tensor& part) { return part.offset() + part.dim(2) * part.dim(3); };
  return end(*parts[0]) == parts[1]->offset() && end(*parts[1]) == parts[2]->offset();
}

Layout layout_of(const Triple& x) {
  const int64_t heads = x.q.dim(2) + 2 * x.k.dim(2);
  const bool alike = x.q.shares_memory_with(x.k) && x.k.shares_memory_with(x.v) && x.q.dim(1) == x.k.dim(1) &&
                     x.q.strides() == x.k.strides() && x.k.strides() == x.v.strides() &&
                     x.q.strides()[1] == heads * x.q.dim(3);
  const int64_t first = std::min({x.q.offset(), x.k.offset(), x.v.offset()});
  const auto head = [&](const Tensor& part) { return (part.offset() - first) / part.dim(3); };
  const bool joint = alike && follow_each_other({&x.q, &x.k, &x.v});
  return {x.q.shape(), x.k.shape(), x.q.dtype(), x.q.device(), joint, head(x.q), head(x.k), head(x.v)};
}

Triple allocate(const Layout& layout) {
  const auto empty = [&](const Shape& shape) { return Tensor::empty(shape, layout.dtype, layout.device); };
  if (!layout.joint) return {empty(layout.q), empty(layout.k), empty(layout.k)};
  const int64_t heads = layout.q[2], kv_heads = layout.k[2];
  const Tensor whole = empty(layout.q.with(2, heads + 2 * kv_heads));
  return {whole.slice(2, layout.q_head, layout.q_head + heads), whole.slice(2, layout.k_head, layout.k_head + kv_heads),
          whole.slice(2, layout.v_head, layout.v_head + kv_heads)};
}

// In the core's dtype, the elements of a head next to each other.
Tensor core_input(const Tensor& x, DType dtype) {
  const Tensor converted = x.to(dtype);
  return converted.strides()[-1] == 1 || converted.dim(-1) == 1 ? converted : converted.contiguous_copy();
}

// y = factor · x, in y's dtype and layout.
void multiply(const Tensor& x, const Tensor& factor, const Tensor& y) {
  launch(Mul{.a = x.in<4>(), .b = factor.expand(x.shape()).in<4>(), .y = y.out<4>()}, exec_of(x.device()));
}

// What gradients are multiplied by on their way through a float16 core, so that small ones do not vanish, and the
// inverse. Nobody waits for the numbers: they stay on the device.
std::array<Tensor, 2> gradient_scale(const Tensor& dout) {
  const Tensor factors = Tensor::empty({2}, DType::f32, dout.device());
  const Tensor memory = Tensor::zeros({sizeof(ScanResult)}, DType::u8, dout.device());
  auto* scan = static_cast<ScanResult*>(memory.address());
  launch(GradientScan{.gradient = dout.to_contiguous().view({-1}).in<1>(), .result = scan}, exec_of(dout.device()));
  launch(RangeFactor{.scan = scan, .n = dout.numel(), .factors = factors.data<float>()}, exec_of(dout.device()));
  return {factors.slice(0, 0, 1), factors.slice(0, 1, 2)};
}

/// What backward keeps of a call.
struct Call {
  Triple x;  // as the core saw them
  Tensor out, lse;
  AttentionOptions options;
  Masks masks;
  Layout layout;  // of the gradients
};

void run_forward(const Call& call) {
  launch(FlashAttentionForward{.q = call.x.q.in<4>(),
                               .k = call.x.k.in<4>(),
                               .v = call.x.v.in<4>(),
                               .options = call.options,
                               .out = call.out.out<4>(),
                               .lse = call.lse.out<3>()},
         exec_of(call.out.device()));
}

void run_backward(const Call& call, const Tensor& dout, const Triple& dx) {
  launch(FlashAttentionBackward{.dout = dout.in<4>(),
                                .q = call.x.q.in<4>(),
                                .k = call.x.k.in<4>(),
                                .v = call.x.v.in<4>(),
                                .out = call.out.in<4>(),
                                .lse = call.lse.in<3>(),
                                .options = call.options,
                                .dq = dx.q.out<4>(),
                                .dk = dx.k.out<4>(),
                                .dv = dx.v.out<4>()},
         exec_of(dout.device()));
}

// The gradients of q, k and v in their own dtype, whatever the core computes in.
Triple gradients(const Call& call, const Tensor& dout) {
  const DType core = call.out.dtype();
  Triple dx = allocate(call.layout);
  if (core == call.layout.dtype) {
    run_backward(call, core_input(dout, core), dx);
    return dx;
  }
  Layout narrow = call.layout;
  narrow.dtype = core;
  const Tensor narrow_dout = empty_like(call.out);
  const Triple narrow_dx = allocate(narrow);
  if (core != DType::f16) {
    narrow_dout.copy_from(dout);
    run_backward(call, narrow_dout, narrow_dx);
    for (const auto& [from, to] : {std::pair(&narrow_dx.q, &dx.q), {&narrow_dx.k, &dx.k}, {&narrow_dx.v, &dx.v}})
      to->copy_from(*from);
    return dx;
  }
  const auto [scale, inverse] = gradient_scale(dout);
  multiply(dout, scale, narrow_dout);
  run_backward(call, narrow_dout, narrow_dx);
  multiply(narrow_dx.q, inverse, dx.q);
  multiply(narrow_dx.k, inverse, dx.k);
  multiply(narrow_dx.v, inverse, dx.v);
  return dx;
}

}  // namespace

Variable flash_attention(const Variable& q, const Variable& k, const Variable& v,
                         const FlashAttentionOptions& options) {
  check(q, k, v);
  check(options, q);
  const DType core = options.compute_dtype.value_or(q.dtype());
  const Pass pass = detail::common_pass("flash_attention", {{&q, &k, &v}});
  const Masks masks = prepare_masks(q, k, options);
  const Call call{.x = {core_input(q.value(), core), core_input(k.value(), core), core_input(v.value(), core)},
                  .out = Tensor::empty(q.shape(), core, q.device()),
                  .lse = Tensor::empty({q.dim(0), q.dim(2), q.dim(1)}, accumulate_dtype(core), q.device()),
                  .options = kernel_options(q, pass, options, masks),
                  .masks = masks,
                  .layout = layout_of({q.value(), k.value(), v.value()})};
  run_forward(call);
  auto backward = [call](const Tensor& dout, GradientSlot dq, GradientSlot dk, GradientSlot dv) {
    const Triple dx = gradients(call, dout);
    dq.add(dx.q);
    dk.add(dx.k);
    dv.add(dx.v);
  };
  return record("flash_attention", call.out.to(q.dtype()), std::move(backward), q, k, v);
}

AttentionPlan flash_attention_plan(const Shape& q, const Shape& k, DType dtype, Device device,
                                   const FlashAttentionOptions& options) {
  const auto extents = [core = options.compute_dtype.value_or(dtype)](const Shape& shape) {
    return In<4>{.dtype = core, .shape = {shape[0], shape[1], shape[2], shape[3]}};
  };
  FlashAttentionForward kernel{
      .q = extents(q), .k = extents(k), .v = extents(k), .options = {.scale = 1}, .out = {}, .lse = {}};
  kernel.options.causal = options.causal;
  kernel.options.softcap = options.softcap;
  kernel.options.dropout = static_cast<float>(options.dropout);
  kernel.options.window_left = kernel.options.window_right = options.window > 0 ? options.window - 1 : -1;
  kernel.options.q_bucket_size = options.q_bucket_size;
  kernel.options.k_bucket_size = options.k_bucket_size;
  return std::visit([&](auto where) { return kernel.plan(where); }, exec_of(device));
}

}  // namespace tessera::ops
