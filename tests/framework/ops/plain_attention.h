// Attention by its definition, in double, over the whole matrix of scores: what the tests of the op and of the layer
// compare with.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "framework/tensor/tensor.h"

namespace tessera {

/// One score's place: sample, query head, query, key, and where the query stands among the keys (bottom-right aligned).
struct ScorePlace {
  int64_t b, h, i, j, p;
};

struct PlainAttention {
  std::function<bool(const ScorePlace&)> sees = [](const ScorePlace&) { return true; };
  std::function<double(const ScorePlace&, double)> score = [](const ScorePlace&, double s) { return s; };
  std::function<double(const ScorePlace&)> kept = [](const ScorePlace&) { return 1.0; };  ///< times a weight
  double scale = 0;                                                                       ///< 0: 1/√D

  /// q [B, N, H, D], k and v [B, M, KvH, D], f64 → [B, N, H, D], row-major.
  std::vector<double> operator()(const Tensor& q, const Tensor& k, const Tensor& v) const {
    const int64_t B = q.dim(0), N = q.dim(1), H = q.dim(2), D = q.dim(3), M = k.dim(1), KvH = k.dim(2);
    const std::vector<double> Q = q.to_vector<double>(), K = k.to_vector<double>(), V = v.to_vector<double>();
    const double factor = scale > 0 ? scale : 1 / std::sqrt(static_cast<double>(D));
    std::vector<double> out(Q.size());
    for (int64_t row = 0; row < B * N * H; ++row) {
      const int64_t b = row / (N * H), i = row / H % N, h = row % H;
      const auto key = [&](int64_t j) { return ((b * M + j) * KvH + h / (H / KvH)) * D; };
      std::vector<double> weights(M, 0);
      double sum = 0;
      for (int64_t j = 0; j < M; ++j) {
        const ScorePlace place{b, h, i, j, i + M - N};
        if (!sees(place)) continue;
        double s = 0;
        for (int64_t d = 0; d < D; ++d) s += Q[row * D + d] * K[key(j) + d];
        sum += weights[j] = std::exp(score(place, factor * s));
      }
      for (int64_t j = 0; j < M; ++j) {
        if (weights[j] == 0) continue;
        const double weight = kept({b, h, i, j, i + M - N}) * weights[j] / sum;
        for (int64_t d = 0; d < D; ++d) out[row * D + d] += weight * V[key(j) + d];
      }
    }
    return out;
  }
};

}  // namespace tessera
