// Memory for kernel tests: an array of any dtype whose rows may be padded, read and written as double.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include "kernels/common/select.h"
#include "kernels/common/view.h"
#include "tests/support/devices.h"

namespace tessera {

/// The rounding unit of a dtype, relative.
inline double rounding_unit(DType dtype) {
  switch (dtype) {
    case DType::f64: return 0x1p-53;
    case DType::f32: return 0x1p-24;
    case DType::f16: return 0x1p-11;
    default: return 0x1p-8;
  }
}

class Array {
 public:
  /// Zeros. The last axis is followed by `padding` elements that belong to nobody (they hold NaN, or 0 for integers).
  Array(DType dtype, std::vector<int64_t> shape, int64_t padding = 0) : dtype_(dtype), shape_(std::move(shape)) {
    strides_.resize(shape_.size(), 1);
    for (size_t i = shape_.size(); i-- > 1;)
      strides_[i - 1] = strides_[i] * shape_[i] + (i == shape_.size() - 1 ? padding : 0);
    const int64_t elements = shape_.empty() ? 1 : shape_[0] * strides_[0];
    bytes_.resize(static_cast<size_t>(elements * size_of(dtype)));
    if (is_floating(dtype)) {
      for (int64_t i = 0; i < elements; ++i) write(i, NAN);
    }
    for (int64_t i = 0; i < numel(); ++i) set(i, 0);
  }

  /// The given values, rounded to `dtype`.
  static Array of(DType dtype, std::vector<int64_t> shape, const std::vector<double>& values, int64_t padding = 0) {
    Array array(dtype, std::move(shape), padding);
    for (int64_t i = 0; i < array.numel(); ++i) array.set(i, values[i]);
    return array;
  }

  /// Values spread evenly over [low, high).
  static Array random(DType dtype, std::vector<int64_t> shape, uint32_t seed, double low = -1, double high = 1,
                      int64_t padding = 0) {
    Array array(dtype, std::move(shape), padding);
    std::mt19937 generator(seed);
    std::uniform_real_distribution<double> spread(low, high);
    for (int64_t i = 0; i < array.numel(); ++i)
      array.set(i, is_floating(dtype) ? spread(generator) : std::floor(spread(generator)));
    return array;
  }

  DType dtype() const { return dtype_; }
  std::vector<std::byte> bytes() const { return {bytes_.begin(), bytes_.end()}; }
  int64_t numel() const { return std::accumulate(shape_.begin(), shape_.end(), int64_t{1}, std::multiplies<>()); }

  /// Element i in row-major order.
  double operator[](int64_t i) const { return read(offset_of(i)); }
  void set(int64_t i, double value) { write(offset_of(i), value); }
  std::vector<double> values() const {
    std::vector<double> all(numel());
    for (int64_t i = 0; i < numel(); ++i) all[i] = (*this)[i];
    return all;
  }

  template <int Rank>
  In<Rank> in() const {
    return view<const void, Rank>(bytes_.data());
  }
  template <int Rank>
  Out<Rank> out() {
    return view<void, Rank>(bytes_.data());
  }

 private:
  template <class Address, int Rank>
  View<Address, Rank> view(Address* data) const {
    View<Address, Rank> view{data, dtype_, {}, {}};
    EXPECT_EQ(static_cast<size_t>(Rank), shape_.size());
    std::copy_n(shape_.begin(), Rank, view.shape.begin());
    std::copy_n(strides_.begin(), Rank, view.strides.begin());
    return view;
  }

  int64_t offset_of(int64_t i) const {
    int64_t offset = 0;
    for (size_t axis = shape_.size(); axis-- > 0; i /= shape_[axis]) offset += i % shape_[axis] * strides_[axis];
    return offset;
  }
  template <class Body>
  void visit(Body&& body) const {
    select<DType::f32, DType::bf16, DType::f16, DType::f64, DType::i64, DType::i32, DType::u16, DType::u8,
           DType::boolean>("dtype", dtype_, body);
  }
  double read(int64_t offset) const {
    double value = 0;
    visit([&]<DType T>() {
      const auto element = reinterpret_cast<const CppType<T>*>(bytes_.data())[offset];
      if constexpr (is_16bit_float(T)) value = static_cast<float>(element);
      else value = static_cast<double>(element);
    });
    return value;
  }
  void write(int64_t offset, double value) {
    visit([&]<DType T>() {
      auto& element = reinterpret_cast<CppType<T>*>(bytes_.data())[offset];
      if constexpr (is_16bit_float(T)) element = CppType<T>(static_cast<float>(value));
      else element = static_cast<CppType<T>>(value);
    });
  }

  DType dtype_;
  std::vector<int64_t> shape_, strides_;
  std::vector<std::byte, ManagedAllocator<std::byte>> bytes_;
};

/// Every element within `relative`·|expected| + `absolute` of what is expected.
inline void expect_close(const Array& actual, const std::vector<double>& expected, double relative, double absolute) {
  ASSERT_EQ(actual.numel(), static_cast<int64_t>(expected.size()));
  for (int64_t i = 0; i < actual.numel(); ++i) {
    ASSERT_LE(std::fabs(actual[i] - expected[i]), relative * std::fabs(expected[i]) + absolute)
        << "element " << i << " is " << actual[i] << ", expected " << expected[i];
  }
}

/// Runs `work` on teams of one and of three threads; what it returns must be the same bits.
inline void expect_same_on_any_threads(const std::function<std::vector<std::byte>()>& work) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const std::vector<std::byte> one = work();
  omp_set_num_threads(3);
  const std::vector<std::byte> three = work();
  omp_set_num_threads(before);
  EXPECT_TRUE(one == three) << "the result depends on the number of threads";
}

}  // namespace tessera
