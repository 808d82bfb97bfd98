#include "kernels/common/cuda/layout.cuh"
#include "kernels/memory/memory.h"

namespace tessera {
namespace {

/// A number of any dtype: integers as they are, the rest as a double.
struct Number {
  double real;
  int64_t integer;
  bool is_integer;
};

template <class From>
__device__ Number number_of(From value) {
  if constexpr (sizeof(From) == 2 && !std::is_integral_v<From>) return {static_cast<float>(value), 0, false};
  else if constexpr (std::is_integral_v<From>) return {static_cast<double>(value), static_cast<int64_t>(value), true};
  else return {static_cast<double>(value), 0, false};
}

template <class To>
__device__ To element_of(const Number& number) {
  if constexpr (std::is_same_v<To, bool>) return number.is_integer ? number.integer != 0 : number.real != 0;
  else if constexpr (std::is_integral_v<To>)
    return number.is_integer ? static_cast<To>(number.integer) : static_cast<To>(number.real);
  else if constexpr (sizeof(To) == 2)
    return To(number.is_integer ? static_cast<float>(number.integer) : static_cast<float>(number.real));
  else return number.is_integer ? static_cast<To>(number.integer) : static_cast<To>(number.real);
}

/// Calls `body(address as that of the dtype's C++ type)` for any dtype.
template <class Body>
__device__ void with_type(char* data, DType dtype, int64_t offset, Body&& body) {
  char* at = data + offset * bytes_per_element(dtype);
  switch (dtype) {
    case DType::i64: return body(reinterpret_cast<int64_t*>(at));
    case DType::i32: return body(reinterpret_cast<int32_t*>(at));
    case DType::u16: return body(reinterpret_cast<uint16_t*>(at));
    case DType::u8: return body(reinterpret_cast<uint8_t*>(at));
    case DType::boolean: return body(reinterpret_cast<bool*>(at));
    default: return with_float_type(data, dtype, offset, body);
  }
}

struct LoadNumber {
  Number& to;
  template <class From>
  __device__ void operator()(const From* from) const {
    to = number_of(*from);
  }
};
struct StoreNumber {
  const Number& from;
  template <class To>
  __device__ void operator()(To* to) const {
    *to = element_of<To>(from);
  }
};

/// A run of words that is moved by accesses of 16 bytes (8 for bytes).
template <class Word>
struct alignas(sizeof(Word) == 1 ? 8 : 16) Packet {
  Word words[kVector];
};

template <class Word>
__global__ void fill_kernel(Word* y, int64_t count, int64_t stride, Word value) {
  const int64_t i = grid_thread() * kVector;
  Packet<Word> packet;
#pragma unroll
  for (int k = 0; k < kVector; ++k) packet.words[k] = value;
  if (stride == 1 && i + kVector <= count && reinterpret_cast<uintptr_t>(y + i) % alignof(Packet<Word>) == 0) {
    *reinterpret_cast<Packet<Word>*>(y + i) = packet;
    return;
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k)
    if (i + k < count) y[(i + k) * stride] = value;
}

/// Copies between layouts without looking at the elements.
template <class Word>
__global__ void move_kernel(const Word* x, Word* y, Layout<2> layout) {
  const int64_t run = grid_thread();
  if (run >= layout.runs) return;
  int64_t offset[2];
  const int n = layout.locate(run, offset);
  const Word* from = x + offset[0];
  Word* to = y + offset[1];
  const bool neighbours = n == kVector && layout.strides[0][4] == 1 && layout.strides[1][4] == 1;
  if (neighbours && reinterpret_cast<uintptr_t>(from) % alignof(Packet<Word>) == 0 &&
      reinterpret_cast<uintptr_t>(to) % alignof(Packet<Word>) == 0) {
    *reinterpret_cast<Packet<Word>*>(to) = *reinterpret_cast<const Packet<Word>*>(from);
    return;
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    if (k < n) to[k * layout.strides[1][4]] = from[k * layout.strides[0][4]];
  }
}

/// Two axes that change places: x has neighbours along `axis`, y along the last one.
struct Turn {
  int axis;           ///< 4: nothing of the kind
  int64_t others[3];  ///< the axes that are left
};

template <class Word>
struct TurnTile {
  static constexpr int kSize = sizeof(Word) <= 2 ? 64 : 32;
  Word words[kSize][kSize + 1];  ///< one more, or a column would lie in one bank
};

/// Copies a square by way of shared memory, so that both sides are read and written along their neighbours.
template <class Word>
__global__ void turn_kernel(const Word* x, Word* y, const __grid_constant__ Layout<2> layout,
                            const __grid_constant__ Turn turn) {
  constexpr int kSize = TurnTile<Word>::kSize, kStep = 256 / kSize;
  auto& tile = shared_memory<TurnTile<Word>>();
  const int64_t extent = layout.shape[turn.axis], last = layout.shape[4];
  const auto [across, down] = divide(block_index().x, (last + kSize - 1) / kSize);
  const int64_t i = across * kSize, j = down * kSize;
  int64_t from = 0, to = 0;
  Division line{block_index().y, 0};
  for (const int64_t axis : turn.others) {
    line = divide(line.quotient, layout.shape[axis]);
    from += line.rest * layout.strides[0][axis];
    to += line.rest * layout.strides[1][axis];
  }
  const int column = thread_index() % kSize, first = thread_index() / kSize;
  for (int row = first; row < kSize; row += kStep)
    if (j + row < last && i + column < extent)
      tile.words[row][column] = x[from + (j + row) * layout.strides[0][4] + i + column];
  sync_threads();
  for (int row = first; row < kSize; row += kStep)
    if (i + row < extent && j + column < last)
      y[to + (i + row) * layout.strides[1][turn.axis] + j + column] = tile.words[column][row];
}

template <class T>
__global__ void convert_floats_kernel(Elements<5> x, Elements<5> y, Layout<2> layout) {
  const int64_t run = grid_thread();
  if (run >= layout.runs) return;
  int64_t offset[2];
  const int n = layout.locate(run, offset);
  T values[kVector];
  load_run(x, offset[0], n, values, layout.strides[0][4]);
  store_run(y, offset[1], n, values, layout.strides[1][4]);
}

__global__ void convert_kernel(Elements<5> x, Elements<5> y, Layout<2> layout) {
  const int64_t run = grid_thread();
  if (run >= layout.runs) return;
  int64_t offset[2];
  const int n = layout.locate(run, offset);
  for (int k = 0; k < n; ++k) {
    Number number;
    with_type(x.data, x.dtype, offset[0] + k * layout.strides[0][4], LoadNumber{number});
    with_type(y.data, y.dtype, offset[1] + k * layout.strides[1][4], StoreNumber{number});
  }
}

__global__ void mask_kernel(Elements<1> x, Elements<1> y, int32_t* not_binary) {
  const int64_t i = grid_thread();
  if (i >= x.shape[0]) return;
  Number number;
  with_type(x.data, x.dtype, i * x.strides[0], LoadNumber{number});
  y.as<bool>()[i * y.strides[0]] = number.real == 1;
  if (number.real != 0 && number.real != 1) *not_binary = 1;
}

/// Calls `body` with a word of the dtype's size.
template <class Body>
void with_word(DType dtype, Body&& body) {
  switch (size_of(dtype)) {
    case 8: return body(uint64_t{});
    case 4: return body(uint32_t{});
    case 2: return body(uint16_t{});
    default: return body(uint8_t{});
  }
}

/// The axes that change places, where tiles of them are worth their shared memory.
Turn turn_of(const Layout<2>& layout) {
  Turn turn{4, {}};
  if (layout.strides[1][4] != 1 || layout.strides[0][4] == 1 || layout.shape[4] < 32) return turn;
  for (int axis = 0; axis < 4; ++axis) {
    if (layout.strides[0][axis] == 1 && layout.shape[axis] >= 32) turn.axis = axis;
  }
  for (int axis = 3, n = 0; axis >= 0 && n < 3; --axis) {
    if (axis != turn.axis) turn.others[n++] = axis;
  }
  return turn;
}

void move_elements(Cuda cuda, const Copy& copy, const Layout<2>& layout) {
  const Grid grid{.x = pieces_of(layout.runs, 256)};
  const Turn turn = turn_of(layout);
  const int64_t lines = copy.x.numel() / std::max<int64_t>(1, layout.shape[turn.axis] * layout.shape[4]);
  with_word(copy.x.dtype, [&]<class Word>(Word) {
    constexpr int kSize = TurnTile<Word>::kSize;
    if (turn.axis < 4 && lines < 65536) {
      const int64_t tiles = pieces_of(layout.shape[turn.axis], kSize) * pieces_of(layout.shape[4], kSize);
      return launch_grid("copy", turn_kernel<Word>, cuda,
                         {.x = tiles, .y = lines, .shared_bytes = sizeof(TurnTile<Word>)},
                         static_cast<const Word*>(copy.x.data), static_cast<Word*>(copy.y.data), layout, turn);
    }
    launch_grid("copy", move_kernel<Word>, cuda, grid, static_cast<const Word*>(copy.x.data),
                static_cast<Word*>(copy.y.data), layout);
  });
}

}  // namespace

void Fill::operator()(Cuda cuda) const {
  if (value == 0 && y.contiguous()) {
    cuda_check(cudaSetDevice(cuda.device), "cudaSetDevice");
    cuda_check(cudaMemsetAsync(y.data, 0, static_cast<size_t>(y.shape[0] * size_of(y.dtype)),
                               static_cast<cudaStream_t>(cuda.stream)),
               "cudaMemsetAsync");
    return;
  }
  with_word(y.dtype, [&]<class Word>(Word word) {
    Fill{.y = {&word, y.dtype, {1}, {1}}, .value = value}(Cpu{});  // as y's dtype has it
    launch_grid("fill", fill_kernel<Word>, cuda, {.x = pieces_of(y.shape[0], 256 * kVector)},
                static_cast<Word*>(y.data), y.shape[0], y.strides[0], word);
  });
}

void Copy::operator()(Cuda cuda) const {
  const Layout<2> layout(y.shape, {&x.strides, &y.strides});
  const Grid grid{.x = pieces_of(layout.runs, 256)};
  if (x.dtype == y.dtype && layout.is_one_run()) {
    cuda_check(cudaSetDevice(cuda.device), "cudaSetDevice");
    cuda_check(cudaMemcpyAsync(y.data, x.data, static_cast<size_t>(x.numel() * size_of(x.dtype)),
                               cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(cuda.stream)),
               "cudaMemcpyAsync");
  } else if (x.dtype == y.dtype) {
    move_elements(cuda, *this, layout);
  } else if (is_floating(x.dtype) && is_floating(y.dtype)) {
    select_compute([&]<class T>() { launch_grid("copy", convert_floats_kernel<T>, cuda, grid, x, y, layout); }, x.dtype,
                   y.dtype);
  } else {
    launch_grid("copy", convert_kernel, cuda, grid, x, y, layout);
  }
}

void ToMask::operator()(Cuda cuda) const {
  launch_grid("to_mask", mask_kernel, cuda, {.x = pieces_of(x.shape[0], 256)}, x, y, not_binary);
}

}  // namespace tessera
