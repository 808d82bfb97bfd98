#include "modules/feed_forward.h"

namespace tessera {
namespace {

int64_t hidden_size(const FeedForward::Options& options) {
  if (options.hidden > 0) return options.hidden;
  if (options.kind != FeedForward::Kind::swiglu) return 4 * options.dim;
  return (options.dim * 8 / 3 + 63) / 64 * 64;
}

}  // namespace

FeedForward::FeedForward(const Options& options)
    : kind(options.kind),
      dropout(options.dropout),
      up({.in = options.dim,
          .out = hidden_size(options) * (options.kind == Kind::swiglu ? 2 : 1),
          .bias = options.bias,
          .init = options.init}),
      down({.in = hidden_size(options), .out = options.dim, .bias = options.bias, .init = options.output_init}) {}

Variable FeedForward::operator()(const Variable& x, const Variable& residual) const {
  const Activation activation = kind == Kind::gelu        ? Activation::gelu_exact
                                : kind == Kind::gelu_tanh ? Activation::gelu_tanh
                                                          : Activation::none;
  const bool drops = dropout > 0 && x.pass().training();
  const Variable added = drops ? Variable() : residual;
  const Variable y = kind == Kind::swiglu ? down(ops::swiglu(up(x)), {.residual = added})
                                          : ops::mlp(x, {up.weight, up.bias, down.weight, down.bias},
                                                     {.activation = activation, .residual = added});
  return drops ? ops::dropout(y, dropout, dropout_site, residual) : y;
}

}  // namespace tessera
