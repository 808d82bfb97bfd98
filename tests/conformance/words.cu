// The kernels of conformance.h: each reads one row of inputs per thread, applies one word, and writes one row of
// outputs.
#include <cmath>

#include "framework/tensor/device.h"
#include "kernels/common/cuda/elements.cuh"
#include "kernels/common/philox.h"
#include "tests/conformance/conformance.h"

namespace tessera::conformance {
namespace {

constexpr int kThreads = 64;
constexpr int kBlocks = 2;

/// Where thread `grid_thread()` finds its inputs and leaves its outputs.
__device__ const uint32_t* row(const uint32_t* all, int each) { return all + grid_thread() * each; }
__device__ uint32_t* row(uint32_t* all, int each) { return all + grid_thread() * each; }

__global__ void indices_kernel(const uint32_t*, uint32_t* out) {
  uint32_t* to = row(out, 8);
  to[0] = static_cast<uint32_t>(thread_index());
  to[1] = static_cast<uint32_t>(thread_count());
  to[2] = static_cast<uint32_t>(lane_index());
  to[3] = static_cast<uint32_t>(warp_index());
  to[4] = static_cast<uint32_t>(block_index().x);
  to[5] = static_cast<uint32_t>(block_index().y + block_index().z);
  to[6] = static_cast<uint32_t>(grid_size().x);
  to[7] = static_cast<uint32_t>(grid_size().y + grid_size().z);
}

__global__ void shuffle_kernel(const uint32_t* in, uint32_t* out) {
  const uint32_t mine = row(in, 1)[0];
  uint32_t* to = row(out, 6);
  const int masks[3] = {1, 10, 31};
  for (int i = 0; i < 3; ++i) to[i] = shuffle_xor(mine, masks[i]);
  to[3] = shuffle(mine, 0);
  to[4] = shuffle(mine, static_cast<int>(mine % 32));
  to[5] = bits_as<uint32_t>(shuffle_xor(static_cast<float>(mine), 16));
}

__global__ void warp_any_kernel(const uint32_t* in, uint32_t* out) {
  uint32_t* to = row(out, 3);
  to[0] = warp_any(row(in, 1)[0] % 64 == 0);
  to[1] = warp_any(thread_index() == 40);
  to[2] = warp_any(false);
}

__global__ void sync_threads_or_kernel(const uint32_t* in, uint32_t* out) {
  uint32_t* to = row(out, 2);
  to[0] = sync_threads_or(row(in, 1)[0] % 128 == 0);
  to[1] = sync_threads_or(thread_index() + block_index().x == 64);
}

struct BarrierSmem {
  uint32_t values[kThreads];
};

/// The first warp hands numbers to the second, which hands them back through the other barriers.
__global__ void barriers_kernel(const uint32_t* in, uint32_t* out) {
  auto& smem = shared_memory<BarrierSmem>();
  const int i = thread_index();
  if (warp_index() == 0) {
    smem.values[i] = row(in, 1)[0];
    barrier_arrive(1, kThreads);
  } else {
    barrier_sync(1, kThreads);
    smem.values[i] = smem.values[63 - i] + 1;
  }
  barrier_sync(2, kThreads);
  const uint32_t far = smem.values[63 - i];
  sync_threads();
  smem.values[i] = far;
  sync_warp();
  row(out, 2)[0] = far;
  row(out, 2)[1] = smem.values[i ^ 1];
}

struct MatrixSmem {
  alignas(16) uint32_t rows[kThreads][4];
};

template <bool Transposed>
__global__ void ldmatrix_kernel(const uint32_t* in, uint32_t* out) {
  auto& smem = shared_memory<MatrixSmem>();
  for (int i = 0; i < 4; ++i) smem.rows[thread_index()][i] = row(in, 4)[i];
  sync_threads();
  uint32_t matrix[4];
  const int row_of_mine = (thread_index() * 7 + 3) % kThreads;  // any order of rows
  if (Transposed) ldmatrix_x4_transposed(matrix, smem.rows[row_of_mine]);
  else ldmatrix_x4(matrix, smem.rows[row_of_mine]);
  for (int i = 0; i < 4; ++i) row(out, 4)[i] = matrix[i];
}

/// Inputs: a[4], b[2], d[4].
template <class Element>
__global__ void mma_kernel(const uint32_t* in, uint32_t* out) {
  const uint32_t* from = row(in, 10);
  const uint32_t a[4] = {from[0], from[1], from[2], from[3]};
  float d[4];
  for (int e = 0; e < 4; ++e) d[e] = bits_as<float>(from[6 + e]);
  mma_m16n8k16<Element>(d, a, from[4], from[5]);
  for (int e = 0; e < 4; ++e) row(out, 4)[e] = bits_as<uint32_t>(d[e]);
}

struct CopySmem {
  alignas(16) uint32_t rows[3][kThreads][4];
};

/// Three groups; 0 to 16 bytes, zeros behind them.
__global__ void cp_async_kernel(const uint32_t* in, uint32_t* out) {
  auto& smem = shared_memory<CopySmem>();
  const int i = thread_index();
  for (int group = 0; group < 3; ++group) {
    cp_async_16(smem.rows[group][i], row(in, 12) + group * 4, (i + group * 5) % 17);
    cp_async_commit();
  }
  cp_async_wait<1>();
  for (int e = 0; e < 8; ++e) row(out, 12)[e] = smem.rows[e / 4][i][e % 4];
  cp_async_wait<0>();
  for (int e = 8; e < 12; ++e) row(out, 12)[e] = smem.rows[2][i][e % 4];
}

__global__ void exp2_kernel(const uint32_t* in, uint32_t* out) {
  for (int i = 0; i < 4; ++i) row(out, 4)[i] = bits_as<uint32_t>(exp2_approx(bits_as<float>(row(in, 4)[i])));
}

__global__ void reciprocal_kernel(const uint32_t* in, uint32_t* out) {
  for (int i = 0; i < 4; ++i) row(out, 4)[i] = bits_as<uint32_t>(reciprocal_approx(bits_as<float>(row(in, 4)[i])));
}

template <class Element>
__global__ void pack_kernel(const uint32_t* in, uint32_t* out) {
  row(out, 1)[0] = pack<Element>(bits_as<float>(row(in, 2)[0]), bits_as<float>(row(in, 2)[1]));
}

template <class Element>
__global__ void unpack_kernel(const uint32_t* in, uint32_t* out) {
  float low, high;
  unpack<Element>(row(in, 1)[0], low, high);
  row(out, 2)[0] = bits_as<uint32_t>(low);
  row(out, 2)[1] = bits_as<uint32_t>(high);
}

/// The sum of small integers, exact in any order.
__global__ void float_sum_kernel(const uint32_t* in, uint32_t* out) {
  if (grid_thread() == 0) out[0] = 0;
  sync_threads();
  if (block_index().x == 0) atomic_add(reinterpret_cast<float*>(out), static_cast<float>(row(in, 1)[0] % 1000));
}

/// Counters before, after, and the sum of what the threads saw: the order of atomics is nobody's to know.
__global__ void atomics_kernel(const uint32_t* in, uint32_t* out) {
  auto* cells = reinterpret_cast<int32_t*>(out);
  const auto value = static_cast<int32_t>(row(in, 1)[0] % 1000);
  if (grid_thread() == 0) cells[0] = cells[1] = cells[2] = 0;
  sync_threads();
  if (block_index().x != 0) return;
  atomic_add(cells + 2, atomic_add(cells, 1));
  atomic_max(cells + 1, value);
  memory_fence();
}

// --- inputs, by case and index

uint32_t random_bits(uint64_t key, size_t i) { return philox(key, {static_cast<uint32_t>(i), 0, 0, 0}).x; }
float random_float(uint64_t key, size_t i) { return uniform(random_bits(key, i)) * 2 - 1; }

template <class Element>
uint32_t pair_of(float low, float high) {
  return Element(low).bits | static_cast<uint32_t>(Element(high).bits) << 16;
}

/// Any two numbers, subnormal ones too, but no NaN.
template <class Element>
uint32_t finite_pair(uint64_t key, size_t i) {
  constexpr uint32_t kExponents = std::is_same_v<Element, Half> ? 0x7c00u : 0x7f80u;
  const uint32_t bits = random_bits(key, i);
  const auto finite = [](uint32_t half) { return (half & kExponents) == kExponents ? half & ~kExponents : half; };
  return finite(bits & 0xffffu) | finite(bits >> 16) << 16;
}

/// Small integers, whose sums are exact; numbers in [−1, 1); numbers that are subnormal in f16.
template <class Element>
uint32_t mma_input(uint64_t key, size_t i) {
  const bool sum = i % 10 >= 6;
  const auto number = [&](size_t part) {
    const float any = random_float(key, 2 * i + part);
    if (key == 0) return std::floor(any * 8);
    return key == 3 && !sum ? std::ldexp(any, -16) : any;
  };
  return sum ? bits_as<uint32_t>(number(0)) : pair_of<Element>(number(0), number(1));
}

/// Moderate numbers, then anything that 32 bits can say.
uint32_t exponent_input(uint64_t key, size_t i) {
  return key % 2 == 0 ? bits_as<uint32_t>(random_float(key, i) * 160) : random_bits(key, i);
}
uint32_t float_input(uint64_t key, size_t i) {
  return key % 2 == 0 ? bits_as<uint32_t>(random_float(key, i) * 70000) : random_bits(key, i);
}

struct Word {
  const char* name;
  void (*kernel)(const uint32_t*, uint32_t*);
  int inputs, outputs;  // per thread
  size_t shared_bytes;
  uint32_t (*input)(uint64_t, size_t);
  Closeness closeness;
  Format format;
};

constexpr Word kWords[] = {
    {"indices", indices_kernel, 1, 8, 0, random_bits, Closeness::bits, Format::bits},
    {"shuffle", shuffle_kernel, 1, 6, 0, random_bits, Closeness::bits, Format::bits},
    {"warp_any", warp_any_kernel, 1, 3, 0, random_bits, Closeness::bits, Format::bits},
    {"sync_threads_or", sync_threads_or_kernel, 1, 2, 0, random_bits, Closeness::bits, Format::bits},
    {"barriers", barriers_kernel, 1, 2, sizeof(BarrierSmem), random_bits, Closeness::bits, Format::bits},
    {"ldmatrix_x4", ldmatrix_kernel<false>, 4, 4, sizeof(MatrixSmem), random_bits, Closeness::bits, Format::bits},
    {"ldmatrix_x4_transposed", ldmatrix_kernel<true>, 4, 4, sizeof(MatrixSmem), random_bits, Closeness::bits,
     Format::bits},
    {"mma_bf16", mma_kernel<BFloat16>, 10, 4, 0, mma_input<BFloat16>, Closeness::product, Format::f32},
    {"mma_f16", mma_kernel<Half>, 10, 4, 0, mma_input<Half>, Closeness::product, Format::f32},
    {"cp_async_16", cp_async_kernel, 12, 12, sizeof(CopySmem), random_bits, Closeness::bits, Format::bits},
    {"exp2_approx", exp2_kernel, 4, 4, 0, exponent_input, Closeness::ulps, Format::f32},
    {"reciprocal_approx", reciprocal_kernel, 4, 4, 0, exponent_input, Closeness::ulps, Format::f32},
    {"pack_bf16", pack_kernel<BFloat16>, 2, 1, 0, float_input, Closeness::bits, Format::bf16_pairs},
    {"pack_f16", pack_kernel<Half>, 2, 1, 0, float_input, Closeness::bits, Format::f16_pairs},
    {"unpack_bf16", unpack_kernel<BFloat16>, 1, 2, 0, finite_pair<BFloat16>, Closeness::bits, Format::f32},
    {"unpack_f16", unpack_kernel<Half>, 1, 2, 0, finite_pair<Half>, Closeness::bits, Format::f32},
    {"float_sum", float_sum_kernel, 1, 1, 0, random_bits, Closeness::bits, Format::bits},
    {"atomics", atomics_kernel, 1, 1, 0, random_bits, Closeness::bits, Format::bits},
};

/// Memory that host and device both reach.
class Shared {
 public:
  explicit Shared(size_t words) : words_(words) {
    void* memory = nullptr;
    cuda_check(cudaMallocManaged(&memory, words * sizeof(uint32_t)), "cudaMallocManaged");
    data_ = static_cast<uint32_t*>(memory);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { cudaFree(data_); }
  uint32_t* data() const { return data_; }
  std::vector<uint32_t> values() const { return {data_, data_ + words_}; }

 private:
  uint32_t* data_;
  size_t words_;
};

Case run(const Word& word, uint64_t key, Cuda cuda) {
  constexpr size_t kAll = size_t{kThreads} * kBlocks;
  const Shared in(kAll * static_cast<size_t>(word.inputs)), out(kAll * static_cast<size_t>(word.outputs));
  for (size_t i = 0; i < kAll * static_cast<size_t>(word.inputs); ++i) in.data()[i] = word.input(key, i);
  for (size_t i = 0; i < kAll * static_cast<size_t>(word.outputs); ++i) out.data()[i] = 0;
  launch_grid(word.name, word.kernel, cuda,
              {.x = kBlocks, .y = 1, .z = 1, .threads = kThreads, .shared_bytes = word.shared_bytes},
              static_cast<const uint32_t*>(in.data()), out.data());
  cuda_check(cudaStreamSynchronize(static_cast<cudaStream_t>(cuda.stream)), word.name);
  const bool exact = word.closeness == Closeness::product && key == 0;
  return {word.name + ("/" + std::to_string(key)), in.values(), out.values(), exact ? Closeness::bits : word.closeness,
          word.format};
}

}  // namespace

std::vector<Case> run_all() {
  const Cuda cuda = std::get<Cuda>(exec_of(Device::cuda(0)));
  std::vector<Case> cases;
  for (const Word& word : kWords) {
    for (uint64_t key = 0; key < 4; ++key) cases.push_back(run(word, key, cuda));
  }
  return cases;
}

}  // namespace tessera::conformance
