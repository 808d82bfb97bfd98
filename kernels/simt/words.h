// The device words (kernels/common/cuda/words.cuh) for the CPU: one function per instruction, with the effects of the
// PTX ISA on registers of 32 lanes. Everything that moves between threads goes through the block of fibers.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/common/half.h"
#include "kernels/simt/block.h"
#include "kernels/simt/runtime.h"

namespace tessera {

inline int thread_index() { return simt::current.thread; }
inline int thread_count() { return simt::current.threads; }
inline int lane_index() { return simt::current.thread % 32; }
inline int warp_index() { return simt::current.thread / 32; }
inline simt::Index3 block_index() { return simt::current.block; }
inline simt::Index3 grid_size() { return simt::current.grid; }

inline void sync_threads(simt::Where where = simt::Where::here()) {
  simt::current.owner->sync(0, simt::current.threads, where);
}
inline bool sync_threads_or(bool value, simt::Where where = simt::Where::here()) {
  return simt::current.owner->sync_or(value, where);
}
inline void barrier_sync(int barrier, int threads, simt::Where where = simt::Where::here()) {
  simt::current.owner->sync(barrier, threads, where);
}
inline void barrier_arrive(int barrier, int threads, simt::Where where = simt::Where::here()) {
  simt::current.owner->sync(barrier, threads, where, true);
}
inline void sync_warp(simt::Where where = simt::Where::here()) { simt::current.owner->sync_warp(where); }

namespace simt {
template <class T>
struct ShuffleOperand {
  T value;
  int source;
  T result;
};
template <class T>
T shuffle_from(T value, int source, Where where) {
  ShuffleOperand<T> mine{value, source, value};
  current.owner->collective(
      "shuffle", &mine,
      [](Operands& lanes, int count) {
        for (int i = 0; i < count; ++i) {
          auto& lane = *static_cast<ShuffleOperand<T>*>(lanes[i]);
          expect(lane.source >= 0 && lane.source < count, "shuffle: lane {} asks for lane {}", i, lane.source);
          lane.result = static_cast<ShuffleOperand<T>*>(lanes[lane.source])->value;
        }
      },
      where);
  return mine.result;
}
}  // namespace simt

/// The value of lane `lane_index() ^ mask`.
template <class T>
T shuffle_xor(T value, int mask, simt::Where where = simt::Where::here()) {
  return simt::shuffle_from(value, lane_index() ^ mask, where);
}
/// The value of lane `lane`.
template <class T>
T shuffle(T value, int lane, simt::Where where = simt::Where::here()) {
  return simt::shuffle_from(value, lane, where);
}
/// True where it is true for any lane of the warp.
inline bool warp_any(bool value, simt::Where where = simt::Where::here()) {
  bool mine = value;
  simt::current.owner->collective(
      "warp_any", &mine,
      [](simt::Operands& lanes, int count) {
        bool any = false;
        for (int i = 0; i < count; ++i) any = any || *static_cast<bool*>(lanes[i]);
        for (int i = 0; i < count; ++i) *static_cast<bool*>(lanes[i]) = any;
      },
      where);
  return mine;
}

template <class Smem>
Smem& shared_memory(simt::Where where = simt::Where::here()) {
  simt::current.owner->check_shared(simt::current.owner->shared(), sizeof(Smem), alignof(Smem), "shared_memory", where);
  return *reinterpret_cast<Smem*>(simt::current.owner->shared());
}

/// Four 8×8 matrices of 16-bit elements; lane l holds the address of row l % 8 of matrix l / 8.
void ldmatrix_x4(uint32_t (&to)[4], const void* row, simt::Where where = simt::Where::here());
/// The same, each matrix transposed.
void ldmatrix_x4_transposed(uint32_t (&to)[4], const void* row, simt::Where where = simt::Where::here());
/// d += a·b for a [16, 16] and b [16, 8] of Half or BFloat16, in the fragment layouts of mma.m16n8k16.
template <class Element>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                  simt::Where where = simt::Where::here());

/// Copies `bytes` (0 to 16) to 16 bytes of shared memory, zeros behind them, some time before the wait.
inline void cp_async_16(void* to, const void* from, int bytes, simt::Where where = simt::Where::here()) {
  if (bytes > 0) simt::check_global(from, static_cast<size_t>(bytes), "cp_async_16");
  simt::current.owner->copy_async(to, from, bytes, where);
}
inline void cp_async_commit() { simt::current.owner->commit_copies(); }
template <int GroupsLeft>
void cp_async_wait() {
  simt::current.owner->wait_copies(GroupsLeft);
}

inline float exp2_approx(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
}
inline float reciprocal_approx(float x) {
  const float y = 1 / (std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x);
  return std::fabs(y) < 0x1p-126f ? std::copysign(0.0f, y) : y;
}
/// Two floats rounded to Element; `low` in the low bits.
template <class Element>
uint32_t pack(float low, float high) {
  return Element(low).bits | static_cast<uint32_t>(Element(high).bits) << 16;
}
/// The two floats of a pair.
template <class Element>
void unpack(uint32_t pair, float& low, float& high) {
  Element first, second;
  first.bits = static_cast<uint16_t>(pair), second.bits = static_cast<uint16_t>(pair >> 16);
  low = static_cast<float>(first), high = static_cast<float>(second);
}

void atomic_max(int32_t* address, int32_t value);
/// Returns what was there before.
int32_t atomic_add(int32_t* address, int32_t value);
void atomic_add(float* address, float value);
void memory_fence();

}  // namespace tessera
