// A tensor is data: a dtype, a shape, strides and shared memory on one device. Copying a Tensor copies the handle;
// views (reshape, transpose, slice, expand) share the memory and never copy.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "framework/tensor/device.h"
#include "framework/tensor/shape.h"
#include "kernels/common/dtype.h"
#include "kernels/common/view.h"

namespace tessera {

class Storage;

class Tensor {
 public:
  /// No tensor at all; `defined()` is false.
  Tensor() = default;

  /// `use`, a literal, names the memory when there is not enough of it.
  static Tensor empty(const Shape& shape, DType dtype, Device device = {}, const char* use = "a tensor");
  static Tensor zeros(const Shape& shape, DType dtype, Device device = {}, const char* use = "a tensor");
  static Tensor full(const Shape& shape, double value, DType dtype, Device device = {});
  /// A copy of `values` in row-major order; their number must be that of the shape.
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape, Device device = {}) {
    return from_bytes(values.data(), values.size(), shape, dtype_of<T>(), device);
  }
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape, Device device = {}) {
    return from(std::span<const T>(values), shape, device);
  }
  /// CPU memory that somebody else owns and keeps alive, seen as a row-major tensor.
  static Tensor borrow(void* data, const Shape& shape, DType dtype);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  int rank() const { return shape_.rank(); }
  /// The extent of an axis; negative axes count from the last. Error: there is no such axis.
  int64_t dim(int axis) const { return shape_[this->axis(axis, "dim")]; }
  int64_t numel() const { return shape_.numel(); }
  int64_t nbytes() const { return numel() * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const;
  bool contiguous() const;
  /// True when nobody but the caller's `holders` Tensors sees this memory, so that it may be overwritten; never for
  /// borrowed memory.
  bool unique(long holders = 1) const;
  bool shares_memory_with(const Tensor& other) const { return storage_ == other.storage_; }
  int64_t offset() const { return offset_; }

  /// The first element. `T` must be the tensor's dtype.
  template <class T>
  T* data() const {
    expect(dtype_of<T>() == dtype_, "tensor: data was asked for as {}, but it is {}", dtype_of<T>(), dtype_);
    return static_cast<T*>(address());
  }
  void* address() const;

  // Views. Negative axes count from the last.
  /// Same elements in a new shape; one extent may be -1. Throws where the strides do not allow it without a copy.
  Tensor view(const Shape& wanted) const;
  /// `view` where possible, a contiguous copy in the new shape elsewhere.
  Tensor reshape(const Shape& wanted) const;
  Tensor transpose(int axis0, int axis1) const;
  /// Elements [begin, end) of axis `along`.
  Tensor slice(int along, int64_t begin, int64_t end) const;
  /// Axes of extent 1 (and new leading axes) stretched to `shape` with stride 0.
  Tensor expand(const Shape& shape) const;
  /// The same bytes, contiguous, as a list of elements of another dtype.
  Tensor bytes_as(DType dtype) const;
  /// [rows, last extent] for row-wise kernels; a copy only where strides forbid a view.
  Tensor rows() const;

  // Copies.
  Tensor contiguous_copy() const;
  /// This tensor if contiguous, else a contiguous copy.
  Tensor to_contiguous() const { return contiguous() ? *this : contiguous_copy(); }
  Tensor to(DType dtype) const;
  Tensor to(Device device) const;
  /// Writes the elements of `source`, which may lie in the same memory.
  void copy_from(const Tensor& source) const;
  void fill(double value) const;

  /// The elements in row-major order, copied to the host. `T` must be the dtype; booleans come as bytes 0 and 1.
  template <class T>
  auto to_vector() const {
    std::vector<std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>> values(static_cast<size_t>(numel()));
    copy_to_host(values.data(), dtype_of<T>());
    return values;
  }
  /// The only element, as a double.
  double item() const;

  /// What a kernel with a rank-`Rank` argument sees: missing leading axes are 1.
  template <int Rank>
  In<Rank> in() const {
    return as_view<const void, Rank>();
  }
  template <int Rank>
  Out<Rank> out() const {
    return as_view<void, Rank>();
  }

 private:
  friend Tensor joined_view(std::span<const Tensor> parts, int along);

  Tensor(std::shared_ptr<Storage> storage, Shape shape, Shape strides, int64_t offset, DType dtype)
      : storage_(std::move(storage)), shape_(shape), strides_(strides), offset_(offset), dtype_(dtype) {}
  static Tensor from_bytes(const void* data, size_t count, const Shape& shape, DType dtype, Device device);
  void copy_to_host(void* destination, DType dtype) const;
  int axis(int axis, const char* op) const;
  /// The strides of the same elements seen in `shape`; false where there are none.
  bool strides_for(const Shape& shape, Shape& strides) const;

  template <class Address, int Rank>
  View<Address, Rank> as_view() const {
    View<Address, Rank> view{.data = defined() ? address() : nullptr, .dtype = dtype_};
    if (!defined()) return view;
    expect(rank() <= Rank, "tensor: {} has more axes than the {} that the kernel takes", shape_, Rank);
    const int missing = Rank - rank();
    for (int i = 0; i < Rank; ++i) {
      view.shape[i] = i < missing ? 1 : shape_[i - missing];
      view.strides[i] = i < missing ? 0 : strides_[i - missing];
    }
    return view;
  }

  std::shared_ptr<Storage> storage_;
  Shape shape_;
  Shape strides_;
  int64_t offset_ = 0;
  DType dtype_ = DType::f32;
};

/// Tensors that lie side by side along axis `along` of one memory block, seen as the one tensor they make up; undefined
/// where they do not.
Tensor joined_view(std::span<const Tensor> parts, int along);

/// An uninitialised tensor like `like`.
inline Tensor empty_like(const Tensor& like) { return Tensor::empty(like.shape(), like.dtype(), like.device()); }

}  // namespace tessera
