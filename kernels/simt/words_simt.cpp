// Fragment layouts: PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type" and "ldmatrix".
#include <atomic>

#include "kernels/simt/words.h"

namespace tessera {
namespace {

struct MatrixRow {
  const void* address;
  uint32_t* to;
};

template <bool Transposed>
void load_matrices(simt::Operands& lanes, int) {
  for (int m = 0; m < 4; ++m) {
    uint16_t matrix[8][8];
    for (int row = 0; row < 8; ++row)
      std::memcpy(matrix[row], static_cast<MatrixRow*>(lanes[m * 8 + row])->address, 16);
    for (int lane = 0; lane < 32; ++lane) {
      const int i = lane / 4, j = lane % 4 * 2;
      const uint32_t low = Transposed ? matrix[j][i] : matrix[i][j];
      const uint32_t high = Transposed ? matrix[j + 1][i] : matrix[i][j + 1];
      static_cast<MatrixRow*>(lanes[lane])->to[m] = low | high << 16;
    }
  }
}

template <class Element>
float half_of(uint32_t pair, int which) {
  Element element;
  element.bits = static_cast<uint16_t>(pair >> (16 * which));
  return static_cast<float>(element);
}

struct MmaOperands {
  float* d;
  const uint32_t* a;
  uint32_t b[2];
};

template <class Element>
void multiply(simt::Operands& lanes, int) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& mine = *static_cast<MmaOperands*>(lanes[lane]);
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int e = 0; e < 2; ++e) {
      a[group][pair + e] = half_of<Element>(mine.a[0], e);
      a[group + 8][pair + e] = half_of<Element>(mine.a[1], e);
      a[group][pair + 8 + e] = half_of<Element>(mine.a[2], e);
      a[group + 8][pair + 8 + e] = half_of<Element>(mine.a[3], e);
      b[pair + e][group] = half_of<Element>(mine.b[0], e);
      b[pair + 8 + e][group] = half_of<Element>(mine.b[1], e);
    }
  }
  float d[16][8] = {};
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 16; ++k)
      for (int j = 0; j < 8; ++j) d[i][j] += a[i][k] * b[k][j];
  for (int lane = 0; lane < 32; ++lane) {
    auto& mine = *static_cast<MmaOperands*>(lanes[lane]);
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int e = 0; e < 4; ++e) mine.d[e] += d[group + e / 2 * 8][pair + e % 2];
  }
}

}  // namespace

void ldmatrix_x4(uint32_t (&to)[4], const void* row, simt::Where where) {
  simt::current.owner->check_shared(row, 16, 16, "ldmatrix_x4", where);
  simt::current.owner->sees_access(row, 16, false, simt::Access::ldmatrix, site_of(where));
  MatrixRow mine{row, to};
  simt::current.owner->collective("ldmatrix_x4", &mine, load_matrices<false>, where);
}

void ldmatrix_x4_transposed(uint32_t (&to)[4], const void* row, simt::Where where) {
  simt::current.owner->check_shared(row, 16, 16, "ldmatrix_x4_transposed", where);
  simt::current.owner->sees_access(row, 16, false, simt::Access::ldmatrix, site_of(where));
  MatrixRow mine{row, to};
  simt::current.owner->collective("ldmatrix_x4_transposed", &mine, load_matrices<true>, where);
}

template <class Element>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, simt::Where where) {
  MmaOperands mine{d, a, {b0, b1}};
  simt::current.owner->collective("mma_m16n8k16", &mine, multiply<Element>, where);
}

template void mma_m16n8k16<Half>(float (&)[4], const uint32_t (&)[4], uint32_t, uint32_t, simt::Where);
template void mma_m16n8k16<BFloat16>(float (&)[4], const uint32_t (&)[4], uint32_t, uint32_t, simt::Where);

void atomic_max(int32_t* address, int32_t value) {
  const std::atomic_ref<int32_t> shared(*address);
  int32_t seen = shared.load();
  while (seen < value && !shared.compare_exchange_weak(seen, value)) {
  }
}

int32_t atomic_add(int32_t* address, int32_t value) { return std::atomic_ref<int32_t>(*address).fetch_add(value); }

void atomic_add(float* address, float value) { std::atomic_ref<float>(*address).fetch_add(value); }

void memory_fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }

}  // namespace tessera
