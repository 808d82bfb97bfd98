// The menu: every differentiable op, one sentence each. `Variable` arguments may be activations, parameters or
// constants; a weight is used in the dtype of the activation it meets; ids, targets, masks and segments are brought to
// its device. Shapes: B batch, N sequence, C width, V vocabulary, H heads, D head size; […] any leading axes. A shape,
// dtype or device that does not fit throws `Error` before anything runs.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "framework/autograd/autograd.h"
#include "framework/ops/flash_attention_options.h"
#include "framework/parameters/visit.h"
#include "kernels/common/activation.h"
#include "kernels/flash_attention/attention_options.h"

namespace tessera::ops {

// ── Products ──

struct LinearOptions {
  Activation activation = Activation::none;  ///< applied to x·Wᵀ + b
  Variable residual = {};                    ///< [..., N], added to the result, which takes its dtype
};
/// activation(x·Wᵀ + b) + residual for x [..., C], W [N, C], b [N] or absent → [..., N].
Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {},
                const LinearOptions& options = {});
/// The two layers of an mlp; biases may be absent.
struct MlpWeights {
  Variable up;         ///< [F, C]
  Variable up_bias;    ///< [F]
  Variable down;       ///< [N, F]
  Variable down_bias;  ///< [N]
};
/// activation(x·upᵀ + up_bias)·downᵀ + down_bias + residual for x [..., C] → [..., N]: two linear layers whose backward
/// multiplies by the activation's slope within a product. The activation is a GELU.
Variable mlp(const Variable& x, const MlpWeights& weights, const LinearOptions& options);
/// x·[W1; W2]ᵀ + [b1; b2] for W1 [N1, C], W2 [N2, C] → [..., N1 + N2]; one product where W1 and W2 are neighbours.
Variable joint_linear(const Variable& x, const Variable& weight1, const Variable& weight2, const Variable& bias1 = {},
                      const Variable& bias2 = {});
/// a·b over the last two axes: [..., M, K]·[..., K, N] → [..., M, N]; at most three axes; the batch of one may be 1.
Variable matmul(const Variable& a, const Variable& b);

// ── Element by element ──

/// a + b with broadcasting (up to four axes); mixed float dtypes give the wider one.
Variable add(const Variable& a, const Variable& b);
/// a · b with broadcasting, as `add`.
Variable mul(const Variable& a, const Variable& b);
/// factor · x.
Variable scale(const Variable& x, double factor);
/// GELU of x; `activation` says which form.
Variable gelu(const Variable& x, Activation activation = Activation::gelu_exact);
/// x · sigmoid(x).
Variable silu(const Variable& x);
/// silu(gate) · up for gate_up [..., 2F], gate first → [..., F].
Variable swiglu(const Variable& gate_up);
/// x in another floating dtype.
Variable cast(const Variable& x, DType dtype);
/// x with elements dropped with probability p, to the nearest 2^-16, and the rest divided by 1 - p, in a training pass;
/// plus `residual`. The site is a member of a named model, one per call: sites of the same name drop the same elements.
Variable dropout(const Variable& x, double p, const Site& site, const Variable& residual = {});

// ── Norms ──

struct NormOptions {
  double epsilon = 1e-5;
  std::optional<DType> dtype = {};  ///< of the result; default: that of x
};
/// Layer norm of x [..., C] over its last axis with weight [C] and bias [C], each may be absent.
Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, const NormOptions& options = {});
/// RMS norm of x [..., C] over its last axis with weight [C].
Variable rms_norm(const Variable& x, const Variable& weight, const NormOptions& options = {});
/// {x + residual, norm of that}, fused.
std::array<Variable, 2> add_layer_norm(const Variable& x, const Variable& residual, const Variable& weight,
                                       const Variable& bias, const NormOptions& options = {});
std::array<Variable, 2> add_rms_norm(const Variable& x, const Variable& residual, const Variable& weight,
                                     const NormOptions& options = {});

// ── Tokens ──

struct EmbeddingOptions {
  Variable positions = {};  ///< [P, C], row `position_start + n` is added to token n of each sequence
  int64_t position_start = 0;
  std::optional<DType> dtype = {};  ///< of the result; default: that of the table
};
/// Rows of `table` [V, C] selected by ids i32 [B, N] → [B, N, C].
Variable embedding(const Variable& table, const Variable& ids, const EmbeddingOptions& options = {});
struct RotaryOptions {
  int64_t start = 0;  ///< position of the first token
  double base = 10000;
};
/// Rotates x [B, N, H, D] by position (RoFormer; halves paired as in Llama).
Variable rotary(const Variable& x, const RotaryOptions& options = {});
struct CrossEntropyOptions {
  int32_t ignore_index = -1;
  double denominator = 0;  ///< the loss is the sum over tokens divided by this; 0: the number of tokens that count
};
/// Softmax cross-entropy of logits [..., V] against targets i32 [...], or the same flat, → scalar. Logits that nobody
/// else holds, as those of a call's own argument, become their gradient at once and are read a single time.
Variable cross_entropy(Variable logits, const Tensor& targets, const CrossEntropyOptions& options = {});

// ── Attention ──

/// softmax(q·kᵀ·scale)·v, tile by tile, for q [B, N, H, D], k and v [B, M, KvH, D] → [B, N, H, D]. KvH divides H; D ≤
/// 256. Rows that see nothing give 0.
Variable flash_attention(const Variable& q, const Variable& k, const Variable& v,
                         const FlashAttentionOptions& options = {});
/// The same with batch × key heads split evenly over `devices`; inputs, result and gradients stay on q's device.
Variable flash_attention(const Variable& q, const Variable& k, const Variable& v, const FlashAttentionOptions& options,
                         std::span<const Device> devices);
/// What such a call would use for q of shape `q` and k of shape `k`; nothing is computed.
AttentionPlan flash_attention_plan(const Shape& q, const Shape& k, DType dtype, Device device,
                                   const FlashAttentionOptions& options = {});

// ── Reductions ──

/// The sum of all elements → scalar.
Variable sum(const Variable& x);
/// The sum over one axis, which disappears.
Variable sum(const Variable& x, int axis);
/// The mean of all elements → scalar.
Variable mean(const Variable& x);

/// The index of the largest element of each row of x [..., V] → i32 [...]; the lowest where several are equal. Has no
/// gradient.
Tensor arg_max(const Tensor& x);

// ── Views: share memory with x ──

/// The same elements in a new shape (one extent may be -1); a copy only where strides demand it.
Variable reshape(const Variable& x, const Shape& shape);
Variable transpose(const Variable& x, int axis0, int axis1);
/// Elements [begin, end) of one axis.
Variable slice(const Variable& x, int axis, int64_t begin, int64_t end);
/// x on another device; its gradient comes back. Neither device's work waits for the host.
Variable to_device(const Variable& x, Device device);
/// Consecutive pieces of the last axis, of the given sizes.
std::vector<Variable> split(const Variable& x, std::span<const int64_t> sizes);
/// Tensors joined along one axis; copies.
Variable concat(std::span<const Variable> parts, int axis);

// ── Memory ──

/// block(x) with nothing kept but x: backward runs the block again. `owned` are the parameters that it uses.
/// It may use these and its argument alone: no gradient would reach another activation of the pass.
Variable recompute(const std::function<Variable(const Variable&)>& block, const Variable& x,
                   std::span<const ParameterPtr> owned);

}  // namespace tessera::ops
