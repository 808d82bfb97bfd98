// Any copy is one of two: runs of elements along y's innermost axis, or, where x's neighbours lie along another axis
// than y's, tiles of a transpose. Axes are merged first, so that few and long runs remain.
#include <array>
#include <cstdlib>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/memory/convert.h"
#include "kernels/memory/memory.h"
#include "kernels/memory/transpose.h"

namespace tessera {
namespace {

constexpr int64_t kTile = 64;

struct Axis {
  int64_t extent, x, y;  ///< strides in elements
};

/// The axes in the order of y's memory, outermost first; those that continue each other in x and y are one.
class Axes {
 public:
  explicit Axes(const Copy& copy) {
    std::array<Axis, 5> axes;
    int count = 0;
    for (int i = 0; i < 5; ++i) {
      const Axis axis{copy.y.shape[i], copy.x.strides[i], copy.y.strides[i]};
      if (axis.extent == 1) continue;
      int place = count++;
      for (; place > 0 && std::abs(axes[place - 1].y) < std::abs(axis.y); --place) axes[place] = axes[place - 1];
      axes[place] = axis;
    }
    for (int i = 0; i < count; ++i) append(axes[i]);
    if (rank_ == 0) axes_[rank_++] = {1, 1, 1};
  }

  int rank() const { return rank_; }
  const Axis& operator[](int i) const { return axes_[i]; }

  /// Puts the axes in the order of x's memory: several streams of writes cost less than several of reads.
  void order_by_x() {
    for (int i = 1; i < rank_; ++i)
      for (int j = i; j > 0 && std::abs(axes_[j - 1].x) < std::abs(axes_[j].x); --j) std::swap(axes_[j - 1], axes_[j]);
  }

  /// Takes axis `i` out.
  Axis remove(int i) {
    const Axis axis = axes_[i];
    std::copy(axes_.begin() + i + 1, axes_.begin() + rank_, axes_.begin() + i);
    --rank_;
    return axis;
  }

  /// The address offsets of element `index` of these axes, counted in row-major order.
  std::array<int64_t, 2> offsets(int64_t index) const {
    int64_t x = 0, y = 0;
    for (int i = rank_ - 1; i >= 0; --i) {
      const int64_t here = i == 0 ? index : index % axes_[i].extent;
      index /= axes_[i].extent;
      x += here * axes_[i].x;
      y += here * axes_[i].y;
    }
    return {x, y};
  }

  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= axes_[i].extent;
    return n;
  }

 private:
  void append(const Axis& inner) {
    if (rank_ > 0) {
      Axis& outer = axes_[rank_ - 1];
      if (outer.x == inner.x * inner.extent && outer.y == inner.y * inner.extent) {
        outer = {outer.extent * inner.extent, inner.x, inner.y};
        return;
      }
    }
    axes_[rank_++] = inner;
  }

  std::array<Axis, 5> axes_{};
  int rank_ = 0;
};

/// A run of n elements at any strides, in one dtype.
void copy_strided(const void* x, int64_t x_stride, void* y, int64_t y_stride, DType dtype, int64_t n) {
  if (x_stride == 1 && y_stride == 1) return convert(x, dtype, y, dtype, n);
  select_any(dtype, [&]<DType T>() {
    const auto* from = static_cast<const CppType<T>*>(x);
    auto* to = static_cast<CppType<T>*>(y);
    for (int64_t i = 0; i < n; ++i) to[i * y_stride] = from[i * x_stride];
  });
}

/// A run of n elements at any strides and dtypes: gathered, converted, scattered.
void copy_run(const Copy& copy, const Axis& run, int64_t x_offset, int64_t y_offset, int64_t n) {
  const DType from = copy.x.dtype;
  const DType to = copy.y.dtype;
  alignas(64) std::array<char, kRun * 8> gathered, converted;
  for (int64_t i = 0; i < n; i += kRun) {
    const int64_t part = std::min(kRun, n - i);
    const void* x = address_of(copy.x.data, from, x_offset + i * run.x);
    void* y = address_of(copy.y.data, to, y_offset + i * run.y);
    if (from == to) {
      copy_strided(x, run.x, y, run.y, to, part);
      continue;
    }
    if (run.x != 1) {
      copy_strided(x, run.x, gathered.data(), 1, from, part);
      x = gathered.data();
    }
    void* target = run.y == 1 ? y : converted.data();
    convert(x, from, target, to, part);
    if (run.y != 1) copy_strided(target, 1, y, run.y, to, part);
  }
}

/// One tile of a transpose: x's neighbours lie along `rows` (of y), y's along `columns`.
void copy_tile(const Copy& copy, const Axis& rows, const Axis& columns, int64_t x_offset, int64_t y_offset) {
  const DType from = copy.x.dtype;
  const DType to = copy.y.dtype;
  const In<2> x{address_of(copy.x.data, from, x_offset), from, {columns.extent, rows.extent}, {columns.x, 1}};
  if (from == to) {
    const Out<2> y{address_of(copy.y.data, to, y_offset), to, {rows.extent, columns.extent}, {rows.y, 1}};
    return transpose(x, y);
  }
  alignas(64) std::array<char, kTile * kTile * 8> buffer;
  const Out<2> tile{buffer.data(), from, {rows.extent, columns.extent}, {columns.extent, 1}};
  transpose(x, tile);
  for (int64_t i = 0; i < rows.extent; ++i) {
    convert(address_of(tile.data, from, i * columns.extent), from, address_of(copy.y.data, to, y_offset + i * rows.y),
            to, columns.extent);
  }
}

void copy_runs(const Copy& copy, Axes axes) {
  const Axis run = axes.remove(axes.rank() - 1);
  axes.order_by_x();
  const int64_t parts = (run.extent + kElementGrain - 1) / kElementGrain;
  const int64_t length = std::min(run.extent, kElementGrain);
  parallel_for(axes.count() * parts, row_grain(length), [&](int64_t i) {
    const auto [x, y] = axes.offsets(i / parts);
    const int64_t begin = i % parts * length;
    copy_run(copy, run, x + begin * run.x, y + begin * run.y, std::min(length, run.extent - begin));
  });
}

void copy_transposed(const Copy& copy, Axes axes, int x_axis) {
  const Axis columns = axes.remove(axes.rank() - 1);
  const Axis rows = axes.remove(x_axis);
  const int64_t row_tiles = (rows.extent + kTile - 1) / kTile;
  const int64_t column_tiles = (columns.extent + kTile - 1) / kTile;
  parallel_for(axes.count() * row_tiles * column_tiles, 1, [&](int64_t i) {  // a tile costs as much as a long run
    const int64_t column = i % column_tiles * kTile;
    const int64_t row = i / column_tiles % row_tiles * kTile;
    const auto [x, y] = axes.offsets(i / column_tiles / row_tiles);
    const Axis tile_rows{std::min(kTile, rows.extent - row), rows.x, rows.y};
    const Axis tile_columns{std::min(kTile, columns.extent - column), columns.x, columns.y};
    copy_tile(copy, tile_rows, tile_columns, x + column * columns.x + row, y + row * rows.y + column);
  });
}

}  // namespace

void Copy::operator()(Cpu) const {
  if (y.numel() == 0) return;
  const Axes axes(*this);
  const Axis& inner = axes[axes.rank() - 1];
  int x_axis = axes.rank() - 1;
  while (x_axis >= 0 && axes[x_axis].x != 1) --x_axis;
  const bool transposed = x_axis >= 0 && x_axis != axes.rank() - 1 && inner.y == 1 && inner.x != 0;
  if (transposed) copy_transposed(*this, axes, x_axis);
  else copy_runs(*this, axes);
}

}  // namespace tessera
