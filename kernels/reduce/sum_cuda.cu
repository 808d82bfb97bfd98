// Work is cut into pieces whose borders depend on the shape only: kColumnRows rows of eight columns per thread
// where columns are neighbours, else runs of the sum's own axis, at most kMostPieces of them. A piece sums in f32, but
// what a thread has of a long one in f64, and pieces are added in f64.
#include "kernels/common/cuda/pieces.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/common/cuda/scratch.h"
#include "kernels/reduce/sum.h"

namespace tessera {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kColumnRows = 64;
constexpr int64_t kMostPieces = 1024;
constexpr int kBatch = 4;  ///< runs that a thread asks for before it adds the first
constexpr int64_t kRunElements = int64_t{kBatch} * kThreads * kVector;

/// partial: [outer, pieces, inner]. A thread sums eight neighbouring columns.
template <class T>
__global__ void column_kernel(Elements<3> x, int64_t pieces, T* partial) {
  const int64_t inner = x.shape[2], runs = (inner + kVector - 1) / kVector, blocks = (runs + kThreads - 1) / kThreads;
  const auto [line, block] = divide(block_index().x, blocks);
  const auto [outer, piece] = divide(line, pieces);
  const int64_t column = (block * kThreads + thread_index()) * kVector;
  if (column >= inner) return;
  const int count = run_length(inner - column);
  const int64_t begin = piece * kColumnRows, end = begin + kColumnRows < x.shape[1] ? begin + kColumnRows : x.shape[1];
  T total[kVector] = {};
#pragma unroll 1
  for (int64_t n = begin; n < end; n += kBatch) {
    T values[kBatch][kVector];
#pragma unroll
    for (int i = 0; i < kBatch; ++i)
      fetch_run(x, outer * x.strides[0] + (n + i) * x.strides[1] + column, n + i < end ? count : 0, values[i]);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      widen_run(x.dtype, values[i]);
#pragma unroll
      for (int k = 0; k < kVector; ++k) total[k] += values[i][k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k)
    if (k < count) partial[(outer * pieces + piece) * inner + column + k] = total[k];
}

template <class T>
struct Room {
  T values[32];
};

template <class T>
__global__ void run_kernel(Elements<3> x, int64_t pieces, int64_t size, T* partial) {
  auto& room = shared_memory<Room<T>>();
  const int64_t inner = x.shape[2], task = block_index().x;
  const int64_t column = task % inner, piece = task / inner % pieces, outer = task / inner / pieces;
  const int64_t begin = piece * size, end = begin + size < x.shape[1] ? begin + size : x.shape[1];
  const int64_t base = outer * x.strides[0] + column * x.strides[2];
  double sum = 0;
#pragma unroll 1
  for (int64_t n = begin + thread_index() * kVector; n < end; n += kRunElements) {
    T values[kBatch][kVector], part = 0;
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int64_t at = n + i * (kThreads * kVector);
      fetch_run(x, base + at * x.strides[1], at < end ? run_length(end - at) : 0, values[i], x.strides[1]);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      widen_run(x.dtype, values[i]);
#pragma unroll
      for (int k = 0; k < kVector; ++k) part += values[i][k];
    }
    sum += static_cast<double>(part);
  }
  const T total = block_reduce(static_cast<T>(sum), room.values, Plus{});
  if (thread_index() == 0) partial[(outer * pieces + piece) * inner + column] = total;
}

template <class T>
void run(const Sum& sum, Cuda cuda) {
  const int64_t outer = sum.x.shape[0], n = sum.x.shape[1], inner = sum.x.shape[2];
  const bool columns = sum.x.strides[2] == 1 && inner > 1;
  const int64_t size =
      columns ? kColumnRows : pieces_of(std::max<int64_t>(1, n), kMostPieces * kRunElements) * kRunElements;
  const int64_t pieces = std::max<int64_t>(1, pieces_of(n, size));
  const Scratch scratch(cuda, static_cast<size_t>(outer * pieces * inner) * sizeof(T));
  T* partial = scratch.as<T>();
  if (columns) {
    launch_grid("sum", column_kernel<T>, cuda,
                {.x = outer * pieces * pieces_of(inner, kThreads * kVector), .threads = kThreads}, sum.x, pieces,
                partial);
  } else {
    launch_grid("sum", run_kernel<T>, cuda,
                {.x = outer * pieces * inner, .threads = kThreads, .shared_bytes = sizeof(Room<T>)}, sum.x, pieces,
                size, partial);
  }
  add_pieces("sum", cuda, partial, pieces, sum.scale, sum.beta, sum.y);
}

}  // namespace

void Sum::operator()(Cuda cuda) const {
  select_compute([&]<class T>() { run<T>(*this, cuda); }, x.dtype, y.dtype);
}

}  // namespace tessera
