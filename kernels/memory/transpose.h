// Transposes a matrix in memory on the calling thread: a building block for kernels that cut their work into tiles.
#pragma once

#include "kernels/common/view.h"

namespace tessera {

/// y = xᵀ for x [R, C] and y [C, R] of one dtype; both have unit stride in their last dimension.
void transpose(const In<2>& x, const Out<2>& y);

}  // namespace tessera
