// Dropout keeps no mask: backward draws the same random numbers again.
#include "kernels/dropout/dropout.h"

#include "framework/ops.h"
#include "framework/ops/broadcast.h"
#include "framework/ops/one_device.h"

namespace tessera::ops {
namespace {

/// What decides which elements are dropped.
struct Mask {
  float p;
  RandomKey key;
  int64_t first_row;

  void apply(const Tensor& x, const Tensor& residual, const Tensor& y) const {
    launch(Dropout{.x = x.rows().in<2>(),
                   .residual = residual.defined() ? residual.rows().in<2>() : In<2>{},
                   .p = p,
                   .key = key,
                   .first_row = first_row,
                   .y = y.rows().out<2>()},
           exec_of(y.device()));
  }
};

// Rows are counted through the global batch, so that ranks that share it drop what one process would.
Mask mask_of(const Variable& x, const Pass& pass, double p, const Site& site) {
  const int64_t rows = x.value().numel() / std::max<int64_t>(1, x.dim(-1));
  const int64_t rows_per_sample = x.rank() > 1 ? rows / std::max<int64_t>(1, x.dim(0)) : rows;
  return {static_cast<float>(p), pass.key(site.hash), pass.options().first_sample * rows_per_sample};
}

}  // namespace

Variable dropout(const Variable& x, double p, const Site& site, const Variable& residual) {
  expect(p >= 0 && p < 1, "dropout: the probability must lie in [0, 1), not {}", p);
  expect(x.rank() >= 1 && is_floating(x.dtype()), "dropout: x must be a floating tensor [..., C], not {} {}", x.dtype(),
         x.shape());
  expect(!residual.defined() || residual.shape() == x.shape(), "dropout: x is {}, the residual {}", x.shape(),
         residual.shape());
  expect_one_device("dropout", {&x, &residual});
  const Pass pass = detail::common_pass("dropout", {{&x, &residual}});
  if (p == 0 || !pass.training()) return residual.defined() ? add(x, residual) : x;

  const Mask mask = mask_of(x, pass, p, site);
  const DType dtype = residual.defined() ? common_dtype("dropout", x, residual) : x.dtype();
  const Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  mask.apply(x.value(), residual.value(), y);
  auto backward = [mask, dtype = x.dtype(), residual_dtype = residual.dtype()](const Tensor& dy, GradientSlot dx,
                                                                               GradientSlot dresidual) {
    if (dresidual.wanted()) dresidual.add(dy.to(residual_dtype));
    if (!dx.wanted()) return;
    const Tensor gradient = Tensor::empty(dy.shape(), dtype, dy.device());
    mask.apply(dy, {}, gradient);
    dx.add(gradient);
  };
  return record("dropout", y, std::move(backward), x, residual);
}

}  // namespace tessera::ops
