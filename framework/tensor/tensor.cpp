#include "framework/tensor/tensor.h"

#include <cstring>
#include <utility>

#include "framework/tensor/allocator.h"
#include "kernels/common/select.h"
#include "kernels/memory/memory.h"

namespace tessera {

class Storage {
 public:
  Storage(Device device, size_t bytes, const MemoryUse& use)
      : device_(device), bytes_(bytes), data_(allocate(device, bytes, use)) {}
  explicit Storage(void* borrowed) : data_(borrowed), owned_(false) {}
  ~Storage() {
    if (owned_) deallocate(device_, data_, bytes_);
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  Device device() const { return device_; }
  void* data() const { return data_; }
  bool owned() const { return owned_; }

 private:
  Device device_;
  size_t bytes_ = 0;
  void* data_ = nullptr;
  bool owned_ = true;
};

namespace {

void expect_defined(const char* op, const Tensor& x) {
  expect(x.defined(), "{}: the tensor is undefined; make one with Tensor::empty, zeros, full or from", op);
}

// `wanted` with its -1, if it has one, replaced by the extent that all elements of `x` need.
Shape inferred(const char* op, const Tensor& x, const Shape& wanted) {
  int unknown = -1;
  for (int i = 0; i < wanted.rank(); ++i) {
    expect(wanted[i] >= -1, "{}: {} has a negative extent; only -1, for the extent to be inferred, may be", op, wanted);
    if (wanted[i] >= 0) continue;
    expect(unknown < 0, "{}: the shape {} has more than one -1; only one extent can be inferred", op, wanted);
    unknown = i;
  }
  Shape shape = wanted;
  if (unknown >= 0) {
    const int64_t known = wanted.with(unknown, 1).numel();
    expect(known > 0, "{}: the -1 of {} cannot be inferred beside an extent of 0; write the number", op, wanted);
    shape = wanted.with(unknown, x.numel() / known);
  }
  expect(shape.numel() == x.numel(), "{}: {} cannot be seen as {}: they hold {} and {} elements", op, x.shape(), wanted,
         x.numel(), shape.numel());
  return shape;
}

// The bytes [first, second) of the storage between which the elements of `x`, which has some, lie.
std::pair<int64_t, int64_t> span_of(const Tensor& x) {
  int64_t last = x.offset();
  for (int i = 0; i < x.rank(); ++i) last += (x.shape()[i] - 1) * x.strides()[i];
  return {x.offset() * size_of(x.dtype()), (last + 1) * size_of(x.dtype())};
}

// True unless element i of one can share memory with no other element of the other than i.
bool may_overlap(const Tensor& a, const Tensor& b) {
  if (!a.shares_memory_with(b)) return false;
  if (a.offset() == b.offset() && a.strides() == b.strides() && a.dtype() == b.dtype()) return false;
  const auto [a_begin, a_end] = span_of(a);
  const auto [b_begin, b_end] = span_of(b);
  return a_begin < b_end && b_begin < a_end;
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device, const char* use) {
  for (const int64_t extent : shape) expect(extent >= 0, "tensor: the shape {} has a negative extent", shape);
  const auto bytes = static_cast<size_t>(shape.numel() * size_of(dtype));
  return {std::make_shared<Storage>(device, bytes, MemoryUse{use, dtype, shape}), shape, shape.row_major_strides(), 0,
          dtype};
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device, const char* use) {
  Tensor tensor = empty(shape, dtype, device, use);
  tensor.fill(0);
  return tensor;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor tensor = empty(shape, dtype, device);
  tensor.fill(value);
  return tensor;
}

Tensor Tensor::borrow(void* data, const Shape& shape, DType dtype) {
  return {std::make_shared<Storage>(data), shape, shape.row_major_strides(), 0, dtype};
}

Tensor Tensor::from_bytes(const void* data, size_t count, const Shape& shape, DType dtype, Device device) {
  expect(static_cast<int64_t>(count) == shape.numel(), "tensor: {} values do not fill the shape {}", count, shape);
  Tensor tensor = empty(shape, dtype);
  if (count > 0) std::memcpy(tensor.address(), data, static_cast<size_t>(tensor.nbytes()));
  return tensor.to(device);
}

Device Tensor::device() const {
  expect_defined("device", *this);
  return storage_->device();
}

bool Tensor::contiguous() const {
  int64_t expected = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[i] != expected) return false;
    expected *= shape_[i];
  }
  return true;
}

bool Tensor::unique(long holders) const { return defined() && storage_->owned() && storage_.use_count() == holders; }

void* Tensor::address() const {
  expect(defined(), "tensor: an undefined tensor has no data");
  return static_cast<char*>(storage_->data()) + offset_ * size_of(dtype_);
}

int Tensor::axis(int axis, const char* op) const {
  expect(axis >= -rank() && axis < rank(), "{}: axis {} is out of range for the shape {}", op, axis, shape_);
  return axis < 0 ? axis + rank() : axis;
}

// Cuts this shape, from the right, into runs of axes that lie behind one another in memory; each run must be filled
// exactly by the next axes of the new shape.
bool Tensor::strides_for(const Shape& shape, Shape& strides) const {
  strides = shape.row_major_strides();
  if (numel() == 0 || contiguous()) return true;
  int to = shape.rank() - 1;
  int64_t run = 1;
  int64_t run_stride = strides_[-1];
  for (int from = rank() - 1; from >= 0; --from) {
    run *= shape_[from];
    const bool continues = from > 0 && (shape_[from - 1] == 1 || strides_[from - 1] == run * run_stride);
    if (continues) continue;
    int64_t filled = 1;
    while (to >= 0 && (filled < run || shape[to] == 1)) {
      strides[to] = filled * run_stride;
      filled *= shape[to--];
    }
    if (filled != run) return false;
    run = 1;
    if (from > 0) run_stride = strides_[from - 1];
  }
  return to < 0;
}

Tensor Tensor::view(const Shape& wanted) const {
  const Shape shape = inferred("view", *this, wanted);
  Shape strides;
  expect(strides_for(shape, strides), "view: {} with strides {} cannot be seen as {} without a copy; use reshape",
         shape_, strides_, wanted);
  return {storage_, shape, strides, offset_, dtype_};
}

Tensor Tensor::reshape(const Shape& wanted) const {
  const Shape shape = inferred("reshape", *this, wanted);
  Shape strides;
  return strides_for(shape, strides) ? Tensor(storage_, shape, strides, offset_, dtype_)
                                     : contiguous_copy().view(shape);
}

Tensor Tensor::transpose(int axis0, int axis1) const {
  const int a = axis(axis0, "transpose");
  const int b = axis(axis1, "transpose");
  Tensor result = *this;
  std::swap(result.shape_[a], result.shape_[b]);
  std::swap(result.strides_[a], result.strides_[b]);
  return result;
}

Tensor Tensor::slice(int along, int64_t begin, int64_t end) const {
  const int a = axis(along, "slice");
  expect(0 <= begin && begin <= end && end <= shape_[a], "slice: [{}, {}) is outside axis {} of the shape {}", begin,
         end, a, shape_);
  Tensor result = *this;
  result.shape_[a] = end - begin;
  result.offset_ += begin * strides_[a];
  return result;
}

Tensor Tensor::expand(const Shape& shape) const {
  expect(shape.rank() >= rank(), "expand: {} has fewer axes than {}", shape, shape_);
  const int missing = shape.rank() - rank();
  Shape strides = shape;
  for (int i = 0; i < shape.rank(); ++i) {
    const bool stretched = i < missing || shape_[i - missing] != shape[i];
    expect(i < missing || !stretched || shape_[i - missing] == 1, "expand: {} does not broadcast to {}", shape_, shape);
    strides[i] = stretched ? 0 : strides_[i - missing];
  }
  return {storage_, shape, strides, offset_, dtype_};
}

Tensor Tensor::bytes_as(DType dtype) const {
  const int64_t first = offset_ * size_of(dtype_);
  expect(contiguous() && nbytes() % size_of(dtype) == 0 && first % size_of(dtype) == 0,
         "bytes_as: the bytes of {} {} with strides {} are no list of {}", dtype_, shape_, strides_, dtype);
  return {storage_, {nbytes() / size_of(dtype)}, {1}, first / size_of(dtype), dtype};
}

Tensor Tensor::rows() const {
  const int64_t width = rank() == 0 ? 1 : dim(-1);
  const Tensor matrix = rank() == 2 ? *this : reshape({width == 0 ? numel() : numel() / width, width});
  return width <= 1 || matrix.strides_[1] == 1 ? matrix : matrix.contiguous_copy();
}

Tensor Tensor::contiguous_copy() const {
  expect_defined("contiguous_copy", *this);
  Tensor copy = empty_like(*this);
  copy.copy_from(*this);
  return copy;
}

Tensor Tensor::to(DType dtype) const {
  expect_defined("to", *this);
  if (dtype == dtype_) return *this;
  Tensor converted = empty(shape_, dtype, device());
  converted.copy_from(*this);
  return converted;
}

void Tensor::copy_from(const Tensor& source) const {
  expect_defined("copy_from, from", source);
  expect_defined("copy_from, to", *this);
  expect(source.shape_ == shape_, "copy: the source is {}, the destination {}", source.shape_, shape_);
  expect(source.device() == device(), "copy: the source is on {}, the destination on {}; use to(device)",
         to_string(source.device()), to_string(device()));
  if (numel() == 0) return;
  if (may_overlap(*this, source)) return copy_from(source.contiguous_copy());
  launch(Copy{.x = source.in<5>(), .y = out<5>()}, exec_of(device()));
}

void Tensor::fill(double value) const {
  expect_defined("fill", *this);
  expect(contiguous(), "fill: the tensor {} with strides {} is not contiguous", shape_, strides_);
  if (numel() > 0) launch(Fill{.y = view({-1}).out<1>(), .value = value}, exec_of(device()));
}

// The CUDA build replaces these two (tensor_cuda.cpp).
#ifndef TESSERA_WITH_CUDA
Tensor Tensor::to(Device device) const {
  expect_defined("to", *this);
  expect(device.is_cpu(), "tensor: this build has no CUDA, so nothing can move to {}", to_string(device));
  return *this;
}

void Tensor::copy_to_host(void* destination, DType dtype) const {
  expect(dtype == dtype_, "tensor: {} values were asked for, but it holds {}", dtype, dtype_);
  if (numel() > 0) std::memcpy(destination, to_contiguous().address(), static_cast<size_t>(nbytes()));
}
#endif

double Tensor::item() const {
  expect_defined("item", *this);
  expect(numel() == 1, "tensor: item() wants one element, but the shape is {}", shape_);
  return to(DType::f64).to_vector<double>()[0];
}

Tensor joined_view(std::span<const Tensor> parts, int along) {
  const Tensor& first = parts.front();
  const int axis = along < 0 ? along + first.rank() : along;
  int64_t extent = 0;
  for (const Tensor& part : parts) {
    const bool continues = part.shares_memory_with(first) && part.dtype() == first.dtype() &&
                           part.strides() == first.strides() &&
                           part.shape() == first.shape().with(axis, part.dim(axis)) &&
                           part.offset() == first.offset() + extent * first.strides()[axis];
    if (!continues) return {};
    extent += part.dim(axis);
  }
  return {first.storage_, first.shape_.with(axis, extent), first.strides_, first.offset_, first.dtype_};
}

}  // namespace tessera
