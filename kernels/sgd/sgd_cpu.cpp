#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/sgd/sgd.h"

namespace tessera {
namespace {

/// The numbers of this step, as the elements need them.
template <class T>
struct Factors {
  T gradient, decay, momentum, learning_rate;
};

template <class T>
void update(const Factors<T>& f, int64_t n, const T* __restrict gradient, T* __restrict weight) {
  for (int64_t i = 0; i < n; ++i) {
    weight[i] -= f.learning_rate * (f.gradient * gradient[i] + f.decay * weight[i]);
  }
}

template <class T>
void update(const Factors<T>& f, int64_t n, const T* __restrict gradient, T* __restrict weight,
            T* __restrict velocity) {
  for (int64_t i = 0; i < n; ++i) {
    velocity[i] = f.momentum * velocity[i] + (f.gradient * gradient[i] + f.decay * weight[i]);
    weight[i] -= f.learning_rate * velocity[i];
  }
}

}  // namespace

void SgdStep::operator()(Cpu) const {
  if (!state->apply) return;
  select_compute(
      [&]<class T>() {
        const Factors<T> factors{static_cast<T>(state->gradient_factor), static_cast<T>(weight_decay),
                                 static_cast<T>(momentum), static_cast<T>(state->learning_rate)};
        parallel_chunks(weight.shape[0], kElementGrain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; i += kRun) {
            const int64_t n = std::min(kRun, end - i);
            T* weights = weight.as<T>() + i;
            if (velocity) update(factors, n, gradient.as<T>() + i, weights, velocity.as<T>() + i);
            else update(factors, n, gradient.as<T>() + i, weights);
            if (mirror) convert_out(weights, n, address_of(mirror.data, mirror.dtype, i), mirror.dtype, 1);
          }
        });
      },
      weight.dtype);
}

}  // namespace tessera
