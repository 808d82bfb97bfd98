// One pass over the parameters, a run at a time, so that the mirror is rounded from weights still in the first cache.
#include <cmath>

#include "kernels/adamw/adamw.h"
#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/common/stochastic_rounding.h"

namespace tessera {
namespace {

/// The numbers of this step, as the elements need them.
template <class T>
struct Factors {
  T gradient, keep, beta1, rest1, beta2, rest2, step, root, epsilon;

  Factors(const AdamWStep& op, const StepState& state)
      : gradient(static_cast<T>(state.gradient_factor)),
        keep(static_cast<T>(1 - static_cast<double>(state.learning_rate) * op.weight_decay)),
        beta1(static_cast<T>(op.beta1)),
        rest1(static_cast<T>(1 - op.beta1)),
        beta2(static_cast<T>(op.beta2)),
        rest2(static_cast<T>(1 - op.beta2)),
        step(static_cast<T>(state.learning_rate / (1 - state.beta1_power))),
        root(static_cast<T>(1 / std::sqrt(1 - state.beta2_power))),
        epsilon(static_cast<T>(op.epsilon)) {}
};

template <class T>
void update(const Factors<T>& f, int64_t n, const T* __restrict gradient, T* __restrict weight, T* __restrict moment1,
            T* __restrict moment2) {
  for (int64_t i = 0; i < n; ++i) {
    const T g = f.gradient * gradient[i];
    const T m = f.beta1 * moment1[i] + f.rest1 * g;
    const T v = f.beta2 * moment2[i] + f.rest2 * g * g;
    moment1[i] = m;
    moment2[i] = v;
    weight[i] = f.keep * weight[i] - f.step * m / (f.root * std::sqrt(v) + f.epsilon);
  }
}

// The `n` weights from `begin` on, whose new values `store_run` will narrow without rounding again.
void round_run(const AdamWStep& op, float* weights, int64_t begin, int64_t n) {
  for (int64_t i = 0; i < n; i += kRoundingBlock) {
    round_block(weights + i, static_cast<int>(std::min<int64_t>(kRoundingBlock, n - i)), op.rounding_key,
                (op.first + begin + i) / kRoundingBlock, op.state->iteration);
  }
}

}  // namespace

void AdamWStep::operator()(Cpu) const {
  if (!state->apply) return;
  select_compute(
      [&]<class T>() {
        const Factors<T> factors(*this, *state);
        parallel_chunks(weight.shape[0], kElementGrain, [&](int64_t begin, int64_t end) {
          T buffer[kRun];
          for (int64_t i = begin; i < end; i += kRun) {
            const int64_t n = std::min(kRun, end - i);
            T* weights = target_run(weight, i, buffer);
            if (weights == buffer) load_run(read_only(weight), i, n, buffer);
            update(factors, n, gradient.as<T>() + i, weights, moment1.as<T>() + i, moment2.as<T>() + i);
            if constexpr (std::is_same_v<T, float>) {
              if (weights == buffer) round_run(*this, weights, i, n);
            }
            store_run(weights, weight, i, n);
            if (mirror) convert_out(weights, n, address_of(mirror.data, mirror.dtype, i), mirror.dtype, 1);
          }
        });
      },
      gradient.dtype);
}

}  // namespace tessera
