#include "modules/flash_attention_two.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <map>
#include <mutex>

#include "framework/autograd/kv_cache.h"

namespace tessera {
namespace {

FlashAttentionTwo::Options checked(FlashAttentionTwo::Options options) {
  if (options.kv_heads == 0) options.kv_heads = options.heads;
  expect(options.dim > 0 && options.heads > 0 && options.kv_heads > 0,
         "FlashAttentionTwo: dim, heads and kv_heads must be positive, not {}, {} and {}", options.dim, options.heads,
         options.kv_heads);
  expect(options.dim_head >= 1 && options.dim_head <= 256, "FlashAttentionTwo: dim_head must be 1 to 256, not {}",
         options.dim_head);
  expect(options.heads % options.kv_heads == 0, "FlashAttentionTwo: kv_heads {} must divide heads {}", options.kv_heads,
         options.heads);
  expect(is_16bit_float(options.mixed_precision_dtype),
         "FlashAttentionTwo: mixed_precision_dtype must be bfloat16 or float16, not {}", options.mixed_precision_dtype);
  expect(!options.rotary || options.dim_head % 2 == 0, "FlashAttentionTwo: rotary needs an even dim_head, not {}",
         options.dim_head);
  return options;
}

// The devices that a layer on `home` is split over; one or none: it is not.
std::vector<Device> devices_of(const FlashAttentionTwo::Options& options, Device home) {
  std::vector<Device> devices;
  if (!options.parallel) return devices;
  if (!home.is_cpu() && options.devices.empty()) {
    for (int i = 0; i < cuda_device_count(); ++i) devices.push_back(Device::cuda(i));
  } else if (!home.is_cpu()) {
    for (const int index : options.devices) devices.push_back(Device::cuda(index));
  }
  static std::once_flag told;
  if (devices.size() < 2) {
    std::call_once(told, [] {
      std::fputs(
          "FlashAttentionTwo: parallel = true splits the heads over GPUs; with fewer than two, or on the CPU, it "
          "changes nothing\n",
          stderr);
    });
  }
  return devices;
}

std::vector<float> alibi_ratios(int64_t heads) {
  // Powers of two get a geometric sequence that starts at its own ratio; other counts borrow every second slope of the
  // next power of two.
  const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  std::vector<float> slopes;
  for (int64_t h = 0; h < power; ++h) {
    slopes.push_back(static_cast<float>(std::exp2(-8.0 * static_cast<double>(h + 1) / static_cast<double>(power))));
  }
  for (int64_t h = 0; power + h < heads; ++h) {
    slopes.push_back(static_cast<float>(std::exp2(-4.0 * static_cast<double>(2 * h + 1) / static_cast<double>(power))));
  }
  return slopes;
}

}  // namespace

FlashAttentionTwo::FlashAttentionTwo(const Options& requested)
    : options(checked(requested)),
      to_q({.in = options.dim, .out = options.heads * options.dim_head, .bias = options.bias, .init = options.init}),
      to_kv({.in = options.dim,
             .out = 2 * options.kv_heads * options.dim_head,
             .bias = options.bias,
             .init = options.init}),
      to_out({.in = options.heads * options.dim_head,
              .out = options.dim,
              .bias = options.bias,
              .init = options.output_init}) {}

Variable FlashAttentionTwo::operator()(const Variable& x, const Call& call) const {
  expect(x.rank() == 3 && x.dim(2) == options.dim, "FlashAttentionTwo: x must be [batch, n, {}], not {}", options.dim,
         x.shape());
  expect(!call.context.defined() || (call.context.rank() == 3 && call.context.dim(2) == options.dim),
         "FlashAttentionTwo: context must be [batch, m, {}], not {}", options.dim, call.context.shape());
  const Heads heads = project(x, call.context);
  const Variable out = attend(heads, x, call);
  return finish(ops::reshape(out, {x.dim(0), x.dim(1), options.heads * options.dim_head}), call.residual);
}

// Self-attention projects keys, values and queries with one product; the heads are views of its result.
FlashAttentionTwo::Heads FlashAttentionTwo::project(const Variable& x, const Variable& context) const {
  const int64_t inner = options.heads * options.dim_head;
  const int64_t kv_inner = options.kv_heads * options.dim_head;
  const auto heads = [&](const Variable& y, int64_t count) {
    return ops::reshape(y, {y.dim(0), y.dim(1), count, options.dim_head});
  };
  if (context.defined()) {
    const int64_t sizes[] = {kv_inner, kv_inner};
    const std::vector<Variable> kv = ops::split(to_kv(context), sizes);
    return {heads(to_q(x), options.heads), heads(kv[0], options.kv_heads), heads(kv[1], options.kv_heads)};
  }
  const int64_t sizes[] = {kv_inner, kv_inner, inner};
  const Variable joint = ops::joint_linear(x, to_kv.weight, to_q.weight, to_kv.bias, to_q.bias);
  const std::vector<Variable> kvq = ops::split(joint, sizes);
  return {heads(kvq[2], options.heads), heads(kvq[0], options.kv_heads), heads(kvq[1], options.kv_heads)};
}

Variable FlashAttentionTwo::attend(const Heads& heads, const Variable& x, const Call& call) const {
  auto [q, k, v] = heads;
  KvCache* cache = x.pass() && !call.context.defined() ? x.pass().options().cache : nullptr;
  if (options.rotary && !call.context.defined()) {
    const int64_t start = cache != nullptr ? cache->length() : 0;
    q = ops::rotary(q, {.start = start});
    k = ops::rotary(k, {.start = start});
  }
  if (cache != nullptr) {
    const auto [keys, values] = cache->append(dropout_site.hash, k.value(), v.value());
    k = keys;
    v = values;
  }
  ops::FlashAttentionOptions how = core(x.dtype(), call);
  if (options.alibi) how.alibi_slopes = alibi_slopes(options.heads, x.device());
  how.mask = call.mask;
  how.q_segments = call.segments;
  return ops::flash_attention(q, k, v, how, devices_of(options, x.device()));
}

ops::FlashAttentionOptions FlashAttentionTwo::core(DType dtype, const Call& call) const {
  const bool narrows = options.mixed_precision && !is_16bit_float(dtype);
  return {.causal = options.causal,
          .window = options.window,
          .softcap = options.softcap,
          .dropout = options.dropout,
          .site = dropout_site,
          .compute_dtype = narrows ? options.mixed_precision_dtype : dtype,
          .q_bucket_size = call.q_bucket_size != 0 ? call.q_bucket_size : options.q_bucket_size,
          .k_bucket_size = call.k_bucket_size != 0 ? call.k_bucket_size : options.k_bucket_size,
          .deterministic = options.deterministic};
}

Variable FlashAttentionTwo::finish(const Variable& out, const Variable& residual) const {
  if (options.output_dropout > 0 && out.pass().training()) {
    return ops::dropout(to_out(out), options.output_dropout, output_dropout_site, residual);
  }
  return to_out(out, {.residual = residual});
}

AttentionPlan FlashAttentionTwo::plan(int64_t batch, int64_t n, int64_t m, DType dtype, Device device,
                                      const Call& call) const {
  return ops::flash_attention_plan({batch, n, options.heads, options.dim_head},
                                   {batch, m, options.kv_heads, options.dim_head}, dtype, device, core(dtype, call));
}

// Made once for each device: a copy from the host in every forward would make it wait.
Tensor alibi_slopes(int64_t heads, Device device) {
  static std::mutex mutex;
  static auto& made = *new std::map<std::pair<int64_t, int>, Tensor>;  // outlives whatever frees memory at exit
  const std::scoped_lock lock(mutex);
  Tensor& slopes = made[{heads, device.is_cpu() ? -1 : device.index}];
  if (!slopes.defined()) slopes = Tensor::from(alibi_ratios(heads), {heads}, device);
  return slopes;
}

}  // namespace tessera
