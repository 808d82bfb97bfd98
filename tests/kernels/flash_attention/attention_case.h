// One attention problem: its sizes, options and data, an independent answer in double precision by plain loops over the
// N × M matrix, and the kernels' answer in any dtype.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/flash_attention/cpu/tile_product.h"
#include "kernels/flash_attention/flash_attention.h"

namespace tessera {

struct AttentionCase {
  int64_t B = 1, N = 1, M = 1, H = 1, KvH = 1, D = 1;
  bool causal = false;
  int64_t window_left = -1, window_right = -1;
  double softcap = 0;
  float dropout = 0;
  std::vector<float> slopes{};                      // [H], or empty
  std::array<int64_t, 4> mask_shape{1, 1, 1, 1};    // each extent 1 or full
  std::vector<uint8_t> mask{};                      // of mask_shape, or empty
  std::vector<int32_t> q_segments{}, k_segments{};  // [B, N] and [B, M], or empty
  int64_t q_bucket_size = 512, k_bucket_size = 1024;
  bool deterministic = true;
  bool packed = false;                        // q, k and v (and their gradients) are views of one buffer; needs N = M
  std::vector<double> q{}, k{}, v{}, dout{};  // [B, N, H, D] and [B, M, KvH, D]

  /// Fills q, k, v and dout with normal numbers, rounded to `dtype`.
  void fill(uint64_t seed, DType dtype = DType::f32);

  bool visible(int64_t b, int64_t h, int64_t i, int64_t j) const;
  double kept(int64_t b, int64_t h, int64_t i, int64_t j) const;  // 0 or 1/(1 − dropout)
  double scale() const;
  AttentionOptions options() const;  // its views point into this case
  std::string describe() const;

  static constexpr uint64_t kDropoutKey = 0x1234567890abcdef;
  static constexpr int64_t kFirstSample = 5, kFirstHead = 3;
};

struct AttentionAnswer {
  std::vector<double> out, lse, dq, dk, dv;
};

/// The definition, with every intermediate matrix rounded to `dtype`: in 16 bit a plain implementation's answer.
AttentionAnswer plain_attention(const AttentionCase& c, DType dtype);
/// The same in f64.
AttentionAnswer exact_attention(const AttentionCase& c);

/// The kernels.
AttentionAnswer run_attention(const AttentionCase& c, DType dtype,
                              attention::TileBackend backend = attention::TileBackend::best);

/// `value` as `dtype` holds it.
double rounded(double value, DType dtype);

/// ‖a − b‖₂ / ‖b‖₂, or 33 times the root mean square of a where b is zero; infinite where one holds a NaN that the
/// other does not.
double relative_error(const std::vector<double>& a, const std::vector<double>& b);

/// The largest of the relative errors of out, lse, dq, dk and dv.
double largest_error(const AttentionAnswer& a, const AttentionAnswer& b);

/// The numbers that the kernels must give in `dtype`: f64 to 1e-12 and f32 to 1e-5; in 16 bit lse to 1e-5, and out with
/// at most twice, gradients with three times the error of the plain implementation, and never more than 1e-2 in bf16
/// and 2e-3 in f16.
class AttentionRule {
 public:
  AttentionRule(const AttentionCase& c, DType dtype);

  /// Runs `c`, which may differ from the constructor's in its tiles, in `deterministic` and in what is hidden.
  void expect(const AttentionCase& c) const;

 private:
  DType dtype_;
  AttentionAnswer exact_, plain_;
};

}  // namespace tessera
