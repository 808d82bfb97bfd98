// Products of tiles: by kernels that libxsmm generates for exactly these sizes where it is built in, otherwise by
// vector loops. Both keep the sums of a block of the result in registers; they differ by rounding only.
#pragma once

#include "kernels/flash_attention/cpu/tile.h"

namespace tessera::attention {

/// Which code multiplies.
enum class TileBackend { best, portable };

/// What zero times infinity or NaN is: NaN as in IEEE arithmetic, or (slowly) zero, so that a weight of zero hides
/// them.
enum class Zero { ieee, absorbing };

/// The three products that attention is made of. The rows of `right` and `out` are whole lanes wide; `right` says how
/// long the sums are.
template <class A>
class TileProducts {
 public:
  explicit TileProducts(TileBackend backend) : backend_(backend) {}

  /// out = left · right
  void assign(Tile<A> out, Tile<const A> left, Tile<const A> right) const {
    run(out, left, right, {.left_transposed = false, .accumulate = false, .zero = Zero::ieee});
  }

  /// out += left · right
  void add(Tile<A> out, Tile<const A> left, Tile<const A> right, Zero zero) const {
    run(out, left, right, {.left_transposed = false, .accumulate = true, .zero = zero});
  }

  /// out += leftᵀ · right
  void add_transposed(Tile<A> out, Tile<const A> left, Tile<const A> right, Zero zero) const {
    run(out, left, right, {.left_transposed = true, .accumulate = true, .zero = zero});
  }

 private:
  struct Form {
    bool left_transposed;
    bool accumulate;
    Zero zero;
  };
  void run(Tile<A> out, Tile<const A> left, Tile<const A> right, Form form) const;

  TileBackend backend_;
};

}  // namespace tessera::attention
