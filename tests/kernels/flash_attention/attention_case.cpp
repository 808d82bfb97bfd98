#include "tests/kernels/flash_attention/attention_case.h"

#include <cmath>
#include <cstddef>
#include <random>

#include "kernels/common/select.h"
#include "kernels/flash_attention/cpu/flash_attention_tiles.h"
#include "tests/support/devices.h"

namespace tessera {
namespace {

/// A tensor [B, L, heads, D] of any floating dtype, alone or as one of three side by side in [B, L, 3, heads, D].
struct Held {
  std::vector<std::byte, ManagedAllocator<std::byte>> bytes;
  DType dtype;
  std::array<int64_t, 4> shape;
  std::array<int64_t, 4> strides;
  int64_t offset = 0;

  Held(DType dtype, std::array<int64_t, 4> shape, int parts)
      : dtype(dtype),
        shape(shape),
        strides{shape[1] * parts * shape[2] * shape[3], parts * shape[2] * shape[3], shape[3], 1} {
    bytes.resize(static_cast<size_t>(shape[0] * strides[0] * size_of(dtype)), std::byte{0xff});  // NaN
  }

  template <class View>
  View view(int part = 0) {
    return {bytes.data() + part * shape[2] * shape[3] * size_of(dtype), dtype, shape, strides};
  }

  /// Calls body(element reference, flat index).
  template <class Body>
  void each(int part, Body body) {
    select_float("held", dtype, [&]<DType T>() {
      auto* data = reinterpret_cast<CppType<T>*>(bytes.data()) + part * shape[2] * shape[3];
      int64_t flat = 0;
      for (int64_t b = 0; b < shape[0]; ++b) {
        for (int64_t n = 0; n < shape[1]; ++n) {
          for (int64_t e = 0; e < shape[2] * shape[3]; ++e) body(data[b * strides[0] + n * strides[1] + e], flat++);
        }
      }
    });
  }

  void write(const std::vector<double>& values, int part = 0) {
    each(part, [&](auto& element, int64_t flat) {
      using T = std::remove_reference_t<decltype(element)>;
      if constexpr (std::is_same_v<T, double>) element = values[flat];
      else element = T(static_cast<float>(values[flat]));
    });
  }

  std::vector<double> read(int part = 0) {
    std::vector<double> values(static_cast<size_t>(shape[0] * shape[1] * shape[2] * shape[3]));
    each(part, [&](auto& element, int64_t flat) {
      if constexpr (std::is_same_v<std::remove_reference_t<decltype(element)>, double>) values[flat] = element;
      else values[flat] = static_cast<float>(element);
    });
    return values;
  }
};

/// The options of a case, their tensors copied to where the test device reaches them.
struct ReachableOptions {
  template <class T>
  using Reachable = std::vector<T, ManagedAllocator<T>>;
  Reachable<float> slopes;
  Reachable<uint8_t> mask;
  Reachable<int32_t> q_segments, k_segments;
  AttentionOptions options;

  explicit ReachableOptions(const AttentionCase& c)
      : slopes(c.slopes.begin(), c.slopes.end()),
        mask(c.mask.begin(), c.mask.end()),
        q_segments(c.q_segments.begin(), c.q_segments.end()),
        k_segments(c.k_segments.begin(), c.k_segments.end()),
        options(c.options()) {
    options.alibi_slopes.data = slopes.empty() ? nullptr : slopes.data();
    options.mask.data = mask.empty() ? nullptr : mask.data();
    options.q_segments.data = q_segments.empty() ? nullptr : q_segments.data();
    options.k_segments.data = k_segments.empty() ? nullptr : k_segments.data();
  }
};

}  // namespace

double rounded(double value, DType dtype) {
  if (dtype == DType::bf16) return static_cast<float>(BFloat16(static_cast<float>(value)));
  if (dtype == DType::f16) return static_cast<float>(Half(static_cast<float>(value)));
  return dtype == DType::f32 ? static_cast<float>(value) : value;
}

void AttentionCase::fill(uint64_t seed, DType dtype) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  for (auto* tensor : {&q, &k, &v, &dout}) {
    const bool of_keys = tensor == &k || tensor == &v;
    tensor->resize(static_cast<size_t>(B * (of_keys ? M * KvH : N * H) * D));
    for (double& value : *tensor) value = rounded(normal(engine), dtype);
  }
}

bool AttentionCase::visible(int64_t b, int64_t h, int64_t i, int64_t j) const {
  const int64_t p = i + M - N;
  if (causal && j > p) return false;
  if (window_left >= 0 && j < p - window_left) return false;
  if (window_right >= 0 && j > p + window_right) return false;
  if (!q_segments.empty() && q_segments[b * N + i] != k_segments[b * M + j]) return false;
  if (mask.empty()) return true;
  const auto [mb, mh, mn, mm] = mask_shape;
  return mask[(((b % mb) * mh + h % mh) * mn + i % mn) * mm + j % mm] != 0;
}

double AttentionCase::kept(int64_t b, int64_t h, int64_t i, int64_t j) const {
  if (dropout == 0) return 1;
  const Words words =
      philox(kDropoutKey, {static_cast<uint32_t>(j / 4), static_cast<uint32_t>(i),
                           static_cast<uint32_t>(h + kFirstHead), static_cast<uint32_t>(b + kFirstSample)});
  const uint32_t word = std::array{words.x, words.y, words.z, words.w}[j % 4];
  return word < static_cast<double>(dropout) * 0x1p32 ? 0 : 1 / (1 - static_cast<double>(dropout));
}

double AttentionCase::scale() const { return 1 / std::sqrt(static_cast<double>(D)); }

AttentionOptions AttentionCase::options() const {
  AttentionOptions options{.scale = scale()};
  options.causal = causal;
  options.window_left = window_left;
  options.window_right = window_right;
  options.softcap = softcap;
  if (!slopes.empty()) options.alibi_slopes = {slopes.data(), DType::f32, {H}, {1}};
  if (!mask.empty()) {
    const auto [mb, mh, mn, mm] = mask_shape;
    options.mask = {mask.data(),
                    DType::boolean,
                    mask_shape,
                    {mb == 1 ? 0 : mh * mn * mm, mh == 1 ? 0 : mn * mm, mn == 1 ? 0 : mm, mm == 1 ? 0 : 1}};
  }
  if (!q_segments.empty()) {
    options.q_segments = {q_segments.data(), DType::i32, {B, N}, {N, 1}};
    options.k_segments = {k_segments.data(), DType::i32, {B, M}, {M, 1}};
  }
  options.dropout = dropout;
  options.dropout_key = kDropoutKey;
  options.first_sample = kFirstSample;
  options.first_head = kFirstHead;
  options.q_bucket_size = q_bucket_size;
  options.k_bucket_size = k_bucket_size;
  options.deterministic = deterministic;
  return options;
}

std::string AttentionCase::describe() const {
  return format_message(
      "B={} N={} M={} H={} KvH={} D={} causal={} window={},{} softcap={} dropout={} alibi={} mask={} segments={} "
      "tiles={}x{} deterministic={} packed={}",
      {B, N, M, H, KvH, D, causal, window_left, window_right, softcap, dropout, !slopes.empty(), mask.size(),
       !q_segments.empty(), q_bucket_size, k_bucket_size, deterministic, packed});
}

AttentionAnswer run_attention(const AttentionCase& c, DType dtype, attention::TileBackend backend) {
  const std::array<int64_t, 4> of_queries{c.B, c.N, c.H, c.D}, of_keys{c.B, c.M, c.KvH, c.D};
  const int parts = c.packed ? 3 : 1;
  Held q(dtype, of_queries, parts), k(dtype, of_keys, parts), v(dtype, of_keys, parts), dout(dtype, of_queries, 1);
  Held dq(dtype, of_queries, parts), dk(dtype, of_keys, parts), dv(dtype, of_keys, parts), out(dtype, of_queries, 1);
  const auto part = [&](int index) { return c.packed ? index : 0; };  // all in q's and dq's buffers, or each in its own
  Held &k_home = c.packed ? q : k, &v_home = c.packed ? q : v, &dk_home = c.packed ? dq : dk,
       &dv_home = c.packed ? dq : dv;
  q.write(c.q), k_home.write(c.k, part(1)), v_home.write(c.v, part(2)), dout.write(c.dout);
  Held statistics(accumulate_dtype(dtype), {c.B, c.H, c.N, 1}, 1);
  const Out<3> lse{statistics.bytes.data(), statistics.dtype, {c.B, c.H, c.N}, {c.H * c.N, c.N, 1}};

  const ReachableOptions reachable(c);
  const FlashAttentionForward forward{.q = q.view<In<4>>(),
                                      .k = k_home.view<In<4>>(part(1)),
                                      .v = v_home.view<In<4>>(part(2)),
                                      .options = reachable.options,
                                      .out = out.view<Out<4>>(),
                                      .lse = lse};
  const FlashAttentionBackward backward{.dout = dout.view<In<4>>(),
                                        .q = q.view<In<4>>(),
                                        .k = k_home.view<In<4>>(part(1)),
                                        .v = v_home.view<In<4>>(part(2)),
                                        .out = out.view<In<4>>(),
                                        .lse = {lse.data, lse.dtype, lse.shape, lse.strides},
                                        .options = reachable.options,
                                        .dq = dq.view<Out<4>>(),
                                        .dk = dk_home.view<Out<4>>(part(1)),
                                        .dv = dv_home.view<Out<4>>(part(2))};
  if (test_device().is_cpu() || backend != attention::TileBackend::best) {
    attention::run_forward(forward, backend);
    attention::run_backward(backward, backend);
  } else {
    run_on_test_device(forward);
    run_on_test_device(backward);
  }
  return {out.read(), statistics.read(), dq.read(), dk_home.read(part(1)), dv_home.read(part(2))};
}

}  // namespace tessera
