// y = activation(x·Wᵀ + b) + residual. Backward keeps x (or its recipe) and, with an activation, its input.
#include "framework/ops.h"
#include "framework/ops/one_device.h"
#include "kernels/elementwise/gelu.h"
#include "kernels/matmul/linear_gradients.h"
#include "kernels/matmul/matmul.h"
#include "kernels/reduce/sum.h"

namespace tessera::ops {
namespace {

void check(const char* op, const Variable& x, const Variable& weight, const Variable& bias,
           const Variable& residual = {}) {
  expect(weight.rank() == 2 && x.rank() >= 1 && x.dim(-1) == weight.dim(1),
         "{}: x {} and weight {} do not fit; the last extent of x must be the second of the weight", op, x.shape(),
         weight.shape());
  expect(is_floating(x.dtype()), "{}: x is {}; cast it to a floating dtype", op, x.dtype());
  expect(weight.dtype() == x.dtype() || weight.dtype() == accumulate_dtype(x.dtype()),
         "{}: x is {} and the weight {}; a weight has x's dtype, or is float32 for 16-bit x", op, x.dtype(),
         weight.dtype());
  expect_one_device(op, {&x, &weight, &bias, &residual});
  expect(!bias.defined() || bias.shape() == Shape{weight.dim(0)}, "{}: bias {} does not fit the weight {}", op,
         bias.shape(), weight.shape());
}

// y = activation(pre = x·Wᵀ + b) + residual
void product(const Tensor& x, const Tensor& w, const Tensor& bias, const Tensor& residual, Activation activation,
             const Tensor& pre, const Tensor& y) {
  launch(MatMul{.a = x.in<3>(),
                .b = w.transpose(0, 1).in<3>(),
                .bias = bias.in<1>(),
                .add = residual.defined() ? residual.rows().in<3>() : In<3>{},
                .activation = activation,
                .pre_activation = pre.defined() ? pre.rows().out<3>() : Out<3>{},
                .c = y.out<3>(),
                .beta = 0},
         exec_of(y.device()));
}

// dx (+)= dy·W
void input_gradient(const Tensor& dy, const Tensor& weight, GradientSlot& dx) {
  if (!dx.wanted()) return;
  const auto [out, beta] = dx.target();
  launch(MatMul{.a = dy.in<3>(),
                .b = weight.in<3>(),
                .bias = {},
                .add = {},
                .activation = Activation::none,
                .pre_activation = {},
                .c = out.rows().out<3>(),
                .beta = beta},
         exec_of(out.device()));
}

// dW (+)= dyᵀ·x and db (+)= Σ dy, in the dtype of the master weights
void weight_gradient(const Tensor& dy, const Tensor& x, const GradientTarget& dw, const GradientTarget& db) {
  launch(LinearWeightGradient{.dy = dy.in<2>(),
                              .x = x.in<2>(),
                              .dweight = dw.tensor.out<2>(),
                              .dweight_beta = dw.beta,
                              .dbias = db.tensor.defined() ? db.tensor.out<1>() : Out<1>{},
                              .dbias_beta = db.beta},
         exec_of(dy.device()));
}

void bias_gradient(const Tensor& dy, const GradientTarget& db) {
  if (!db.tensor.defined()) return;
  launch(Sum{.x = dy.in<3>(), .scale = 1, .beta = db.beta, .y = db.tensor.out<2>()}, exec_of(dy.device()));
}

GradientTarget target_of(GradientSlot& slot) { return slot.wanted() ? slot.target() : GradientTarget{}; }

// dy of the activation's input, in place where nobody else holds dy.
Tensor activation_gradient(const Tensor& pre, const Tensor& dy, Activation activation) {
  Tensor dpre = dy.unique() && dy.contiguous() && dy.dtype() == pre.dtype() ? dy : empty_like(pre);
  launch(GeluBackward{.x = pre.view({-1}).in<1>(),
                      .dy = dy.to_contiguous().view({-1}).in<1>(),
                      .activation = activation,
                      .dx = dpre.view({-1}).out<1>()},
         exec_of(dy.device()));
  return dpre;
}

Tensor activate(const Tensor& pre, Activation activation) {
  Tensor y = empty_like(pre);
  launch(Gelu{.x = pre.view({-1}).in<1>(), .activation = activation, .y = y.view({-1}).out<1>()}, exec_of(y.device()));
  return y;
}

/// What ties the two layers of an mlp: the upper one multiplies by the slope of the lower one's activation, within the
/// product that forms its input's gradient, so what reaches the lower one is the gradient of `pre`.
struct Link {
  Tensor pre;  ///< undefined: none
  Activation activation = Activation::none;
};

/// With the input of the layer itself where it is `wanted` and on the way; otherwise undefined.
Tensor input_gradient(const Tensor& dy, const Tensor& weight, const Link& below, GradientSlot& dx, bool wanted) {
  if (!below.pre.defined()) input_gradient(dy, weight, dx);
  if (!below.pre.defined() || !dx.wanted()) return {};
  const Tensor dpre = empty_like(below.pre);
  Tensor x = wanted ? empty_like(below.pre) : Tensor();
  launch(LinearActivationGradient{.dy = dy.in<2>(),
                                  .weight = weight.in<2>(),
                                  .pre = below.pre.rows().in<2>(),
                                  .activation = below.activation,
                                  .dpre = dpre.rows().out<2>(),
                                  .x = wanted ? x.rows().out<2>() : Out<2>{}},
         exec_of(dy.device()));
  dx.add(dpre);
  return x;
}

/// `below` is the layer that made x; `above`, where there is one, gets this layer's link and takes over its slope.
Variable run_linear(const Variable& x, const Variable& weight, const Variable& bias, const LinearOptions& options,
                    const Link& below, Link* above) {
  const Variable& residual = options.residual;
  check("linear", x, weight, bias, residual);
  const Shape shape = x.shape().with(-1, weight.dim(0));
  expect(!residual.defined() || residual.shape() == shape, "linear: the residual is {}, the result {}",
         residual.shape(), shape);
  expect(!residual.defined() || residual.dtype() == x.dtype() || residual.dtype() == accumulate_dtype(x.dtype()),
         "linear: a {} residual cannot take a {} product", residual.dtype(), x.dtype());
  const bool activated = options.activation != Activation::none;
  expect(!activated || !residual.defined(), "linear: an activation and a residual cannot be fused; use add");

  const DType dtype = residual.defined() ? residual.dtype() : x.dtype();
  const Tensor w = weight.value_as(x.dtype());
  const Tensor y = Tensor::empty(shape, dtype, x.device());
  const Tensor pre = activated ? empty_like(y) : Tensor();
  product(x.value().rows(), w, bias.value(), residual.defined() ? residual.value() : Tensor(), options.activation, pre,
          y.rows());
  if (above != nullptr) *above = {pre, options.activation};

  const Tensor sloped = above == nullptr ? pre : Tensor();  // whose slope is this layer's to apply
  auto backward = [x = x.saved(), w, sloped, below, activation = options.activation, dtype = x.dtype()](
                      const Tensor& dy, GradientSlot dx, GradientSlot dw, GradientSlot db, GradientSlot dresidual) {
    dresidual.add(dy);
    const Tensor dp = (sloped.defined() ? activation_gradient(sloped, dy, activation) : dy).to(dtype).rows();
    const Tensor again = input_gradient(dp, w, below, dx, dw.wanted());
    if (dw.wanted()) weight_gradient(dp, (again.defined() ? again : x.get()).rows(), dw.target(), target_of(db));
    else bias_gradient(dp, target_of(db));
  };
  Variable out = record("linear", y, std::move(backward), x, weight, bias, residual);
  if (!activated) return out;
  return std::move(out).recomputed_by([pre, activation = options.activation] { return activate(pre, activation); });
}

}  // namespace

Variable linear(const Variable& x, const Variable& weight, const Variable& bias, const LinearOptions& options) {
  return run_linear(x, weight, bias, options, {}, nullptr);
}

Variable mlp(const Variable& x, const MlpWeights& weights, const LinearOptions& options) {
  expect(options.activation != Activation::none, "mlp: needs an activation; use linear twice");
  Link link;
  const Variable hidden = run_linear(x, weights.up, weights.up_bias, {.activation = options.activation}, {}, &link);
  return run_linear(hidden, weights.down, weights.down_bias, {.residual = options.residual}, link, nullptr);
}

namespace {

// Two neighbours as one: their values, or their gradients where both are to be written or both added to.
Tensor joined(const Tensor& first, const Tensor& second) {
  const Tensor parts[] = {first, second};
  return joined_view(parts, 0);
}

// The biases of both as one vector, with zeros where one is absent: a view of neighbours, else a copy, which is less
// work than a second product.
Tensor joint_bias(const Variable& bias1, const Variable& bias2, int64_t n1, int64_t n) {
  if (!bias1.defined() && !bias2.defined()) return {};
  if (bias1.defined() && bias2.defined()) {
    if (Tensor both = joined(bias1.value(), bias2.value()); both.defined()) return both;
  }
  const Variable& first = bias1.defined() ? bias1 : bias2;
  Tensor both = Tensor::zeros({n}, first.dtype(), first.device());
  if (bias1.defined()) both.slice(0, 0, n1).copy_from(bias1.value());
  if (bias2.defined()) both.slice(0, n1, n).copy_from(bias2.value().to(first.dtype()));
  return both;
}

void joint_weight_gradient(const Tensor& dy, const Tensor& x, GradientSlot& dw1, GradientSlot& dw2, int64_t n1) {
  const GradientTarget first = target_of(dw1), second = target_of(dw2);
  if (first.tensor.defined() && second.tensor.defined() && first.beta == second.beta) {
    const Tensor both = joined(first.tensor, second.tensor);
    if (both.defined()) return weight_gradient(dy, x, {both, first.beta}, {});
  }
  if (first.tensor.defined()) weight_gradient(dy.slice(1, 0, n1), x, first, {});
  if (second.tensor.defined()) weight_gradient(dy.slice(1, n1, dy.dim(1)), x, second, {});
}

}  // namespace

Variable joint_linear(const Variable& x, const Variable& weight1, const Variable& weight2, const Variable& bias1,
                      const Variable& bias2) {
  check("joint_linear", x, weight1, bias1);
  check("joint_linear", x, weight2, bias2);
  const int64_t n1 = weight1.dim(0);
  const int64_t n = n1 + weight2.dim(0);
  const Tensor w1 = weight1.value_as(x.dtype());
  const Tensor w2 = weight2.value_as(x.dtype());
  const Tensor y = Tensor::empty(x.shape().with(-1, n), x.dtype(), x.device());
  const Tensor rows = x.value().rows();
  const Tensor w = joined(w1, w2);
  if (w.defined()) {
    product(rows, w, joint_bias(bias1, bias2, n1, n), {}, Activation::none, {}, y.rows());
  } else {
    product(rows, w1, bias1.value(), {}, Activation::none, {}, y.rows().slice(1, 0, n1));
    product(rows, w2, bias2.value(), {}, Activation::none, {}, y.rows().slice(1, n1, n));
  }

  auto backward = [x = x.saved(), w, w1, w2, n1, n](const Tensor& gradient, GradientSlot dx, GradientSlot dw1,
                                                    GradientSlot dw2, GradientSlot db1, GradientSlot db2) {
    const Tensor dy = gradient.rows();
    if (w.defined()) {
      input_gradient(dy, w, dx);
    } else {
      input_gradient(dy.slice(1, 0, n1), w1, dx);
      input_gradient(dy.slice(1, n1, n), w2, dx);
    }
    joint_weight_gradient(dy, x.get().rows(), dw1, dw2, n1);
    bias_gradient(dy.slice(1, 0, n1), target_of(db1));
    bias_gradient(dy.slice(1, n1, n), target_of(db2));
  };
  return record("joint_linear", y, std::move(backward), x, weight1, weight2, bias1, bias2);
}

}  // namespace tessera::ops
