// The last step of a sum over rows: the sums of its pieces, added in f64 in an order that depends on the shape only.
#pragma once

#include "kernels/common/cuda/elements.cuh"

namespace tessera {

struct PieceSums {
  static constexpr int kWarps = 8;
  double parts[kWarps][32];
};

/// y[o, c] = beta·y[o, c] + scale · Σ_p partial[o, p, c]: a block has 32 neighbouring outputs, a warp every eighth
/// piece.
template <class T>
__global__ void add_pieces_kernel(const T* partial, int64_t pieces, double scale, float beta, Elements<2> y) {
  auto& smem = shared_memory<PieceSums>();
  const int64_t i = static_cast<int64_t>(block_index().x) * 32 + lane_index(), inner = y.shape[1];
  const bool inside = i < y.shape[0] * inner;
  const auto [outer, column] = divide(inside ? i : 0, inner);
  double total = 0;
#pragma unroll 16  // as many loads are on their way
  for (int64_t piece = warp_index(); piece < pieces && inside; piece += PieceSums::kWarps)
    total += static_cast<double>(partial[(outer * pieces + piece) * inner + column]);
  smem.parts[warp_index()][lane_index()] = total;
  sync_threads();
  if (warp_index() != 0 || !inside) return;
  for (int warp = 1; warp < PieceSums::kWarps; ++warp) total += smem.parts[warp][lane_index()];
  total *= scale;
  const int64_t at = outer * y.strides[0] + column * y.strides[1];
  if (beta != 0) total += static_cast<double>(beta) * load_one<double>(y, at);
  store_one(y, at, total);
}

/// Adds up `partial` [outer, pieces, inner] into y [outer, inner].
template <class T>
void add_pieces(const char* name, Cuda cuda, const T* partial, int64_t pieces, double scale, float beta,
                const Out<2>& y) {
  launch_grid(name, add_pieces_kernel<T>, cuda,
              {.x = pieces_of(y.numel(), 32), .threads = 32 * PieceSums::kWarps, .shared_bytes = sizeof(PieceSums)},
              partial, pieces, scale, beta, y);
}

}  // namespace tessera
