#include "framework/tensor/tensor.h"

#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/tensor/random.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

using testing::ElementsAre;

Tensor iota(const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), 0.0f);
  return Tensor::from(values, shape);
}

TEST(Tensor, ViewsShareMemoryAndNeverCopy) {
  const Tensor x = iota({2, 3, 4});
  const auto views = {x.view({6, 4}), x.transpose(0, 2), x.slice(1, 1, 3), x.view({2, 1, 3, 4}), x.view({-1})};
  for (const Tensor& view : views) EXPECT_TRUE(view.shares_memory_with(x));
  EXPECT_THAT(x.slice(1, 1, 2).view({2, 4}).to_vector<float>(), ElementsAre(4, 5, 6, 7, 16, 17, 18, 19));
  EXPECT_THAT(x.slice(2, 0, 1).transpose(0, 1).to_vector<float>(), ElementsAre(0, 12, 4, 16, 8, 20));
}

TEST(Tensor, ViewKeepsStridesWhereItCanAndRefusesWhereItCannot) {
  const Tensor x = iota({4, 6});
  const Tensor columns = x.slice(1, 0, 4);
  EXPECT_EQ(columns.view({2, 2, 4}).strides(), (Shape{12, 6, 1}));
  EXPECT_EQ(columns.view({4, 2, 2}).strides(), (Shape{6, 2, 1}));
  EXPECT_EQ(columns.view({4, 1, 4}).to_vector<float>(), columns.to_vector<float>());
  EXPECT_THROW(columns.view({16}), Error);
  EXPECT_EQ(columns.reshape({16}).to_vector<float>(), columns.to_vector<float>());
  EXPECT_FALSE(columns.reshape({-1, 8}).shares_memory_with(x));
  const Tensor transposed = x.transpose(0, 1);
  EXPECT_EQ(transposed.view({2, 3, 4}).to_vector<float>(), transposed.to_vector<float>());
  EXPECT_THROW(transposed.view({4, 6}), Error);
}

TEST(Tensor, EveryReshapeEqualsTheOneOfACopy) {
  const Tensor base = iota({2, 3, 4, 5});
  const Tensor sources[] = {base, base.transpose(1, 2), base.slice(3, 1, 4), base.slice(0, 1, 2), base.transpose(0, 3)};
  for (const Tensor& source : sources) {
    const int64_t n = source.numel();
    for (int64_t a = 1; a <= n; ++a) {
      if (n % a != 0) continue;
      EXPECT_EQ(source.reshape({a, n / a}).to_vector<float>(),
                source.contiguous_copy().view({a, -1}).to_vector<float>());
    }
  }
}

TEST(Tensor, OneExtentIsInferredByOneRule) {
  const Tensor x = iota({2, 3});
  for (const Tensor& six : {x, x.transpose(0, 1)}) {
    EXPECT_EQ(six.reshape({3, -1}).shape(), (Shape{3, 2}));
    expect_error([&] { (void)six.reshape({-1, -1}); }, "reshape: the shape [-1, -1] has more than one -1");
    expect_error([&] { (void)six.reshape({-2, -3}); }, "reshape: [-2, -3] has a negative extent");
    expect_error([&] { (void)six.reshape({4, -1}); }, "they hold 6 and 4 elements");
    expect_error([&] { (void)six.reshape({0, -1}); }, "the -1 of [0, -1] cannot be inferred beside an extent of 0");
  }
  expect_error([&] { (void)x.view({-2, -3}); }, "view: [-2, -3] has a negative extent");
  const Tensor none = Tensor::zeros({0, 4}, DType::f32);
  for (const Tensor& empty : {none, none.transpose(0, 1)}) {
    EXPECT_EQ(empty.reshape({-1, 4}).shape(), (Shape{0, 4}));
    expect_error([&] { (void)empty.reshape({0, -1}); }, "the -1 of [0, -1] cannot be inferred beside an extent of 0");
  }
}

TEST(Tensor, AnAxisThatIsNotThereIsRefused) {
  const Tensor x = iota({2, 3});
  EXPECT_EQ(x.dim(-2), 2);
  for (const int axis : {-3, 2, 5}) {
    const std::string message = "dim: axis " + std::to_string(axis) + " is out of range for the shape [2, 3]";
    expect_error([&] { (void)x.dim(axis); }, message.c_str());
    expect_error([&] { (void)Variable(x).dim(axis); }, message.c_str());
  }
}

TEST(Tensor, MoreElementsThanCanBeCountedAreRefused) {
  constexpr int64_t kMany = int64_t{1} << 40;
  const char* const message = "tensor: the shape [1099511627776, 1099511627776] has more than 2^60 elements";
  expect_error([] { (void)Tensor::empty({kMany, kMany}, DType::u8); }, message);
  expect_error([] { (void)Tensor::zeros({0}, DType::u8).view({kMany, kMany}); }, message);
  expect_error([] { (void)Tensor::empty({int64_t{1} << 61}, DType::f64); }, "[2305843009213693952] has more than 2^60");
}

TEST(Tensor, UndefinedTensorsSaySo) {
  const Tensor none;
  const Tensor one = Tensor::zeros({}, DType::f32);
  expect_error([&] { (void)none.item(); }, "item: the tensor is undefined; make one with Tensor::empty");
  expect_error([&] { none.fill(1); }, "fill: the tensor is undefined");
  expect_error([&] { (void)none.to(DType::f64); }, "to: the tensor is undefined");
  expect_error([&] { (void)none.to(DType::f32); }, "to: the tensor is undefined");
  expect_error([&] { (void)none.to(Device{}); }, "the tensor is undefined");
  expect_error([&] { (void)none.contiguous_copy(); }, "contiguous_copy: the tensor is undefined");
  expect_error([&] { none.copy_from(one); }, "copy_from, to: the tensor is undefined");
  expect_error([&] { one.copy_from(none); }, "copy_from, from: the tensor is undefined");
  expect_error([&] { (void)none.device(); }, "device: the tensor is undefined");
}

TEST(Tensor, BorrowedMemoryIsNeverTheBorrowersToOverwrite) {
  float value = 3;
  EXPECT_FALSE(Tensor::borrow(&value, {1}, DType::f32).unique());
  EXPECT_TRUE(Tensor::zeros({1}, DType::f32).unique());
  EXPECT_FALSE(Tensor().unique());
}

TEST(Tensor, ExpandBroadcastsWithStrideZero) {
  const Tensor x = iota({3, 1});
  EXPECT_THAT(x.expand({2, 3, 2}).to_vector<float>(), ElementsAre(0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2));
  EXPECT_THROW(x.expand({2, 2}), Error);
}

TEST(Tensor, ConvertsBetweenDtypes) {
  const Tensor x = Tensor::from(std::vector<float>{0.0f, 1.5f, -2.25f}, {3});
  for (const DType dtype : {DType::f64, DType::bf16, DType::f16}) {
    EXPECT_EQ(x.to(dtype).to(DType::f32).to_vector<float>(), x.to_vector<float>());
  }
  EXPECT_THAT(x.to(DType::boolean).to_vector<bool>(), ElementsAre(0, 1, 1));
}

TEST(Tensor, CopiesBetweenPlacesThatOverlap) {
  const Tensor square = Tensor::from(std::vector<float>{1, 2, 3, 4}, {2, 2});
  square.copy_from(square.transpose(0, 1));
  EXPECT_EQ(square.to_vector<float>(), (std::vector<float>{1, 3, 2, 4}));
  const Tensor line = square.view({4});
  line.slice(0, 1, 4).copy_from(line.slice(0, 0, 3));
  EXPECT_EQ(line.to_vector<float>(), (std::vector<float>{1, 1, 3, 2}));
  line.slice(0, 0, 3).copy_from(line.slice(0, 1, 4));
  EXPECT_EQ(line.to_vector<float>(), (std::vector<float>{1, 3, 2, 2}));
}

TEST(Tensor, MessagesNameTheOpAndTheShapes) {
  const Tensor x = iota({2, 3});
  try {
    (void)x.view({4, 2});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "view: [2, 3] cannot be seen as [4, 2]: they hold 6 and 8 elements");
  }
  EXPECT_THROW(x.slice(0, 1, 3), Error);
  EXPECT_THROW(x.slice(2, 0, 1), Error);
  EXPECT_THROW(x.data<double>(), Error);
  EXPECT_THROW(Tensor::from(std::vector<float>{1}, {2}), Error);
  EXPECT_THROW(Device::parse("gpu"), Error);
  EXPECT_THROW(Device::parse("cuda:4000"), Error);
}

TEST(Tensor, JoinedViewFindsNeighbours) {
  const Tensor x = iota({2, 3, 8});
  const Tensor parts[] = {x.slice(2, 0, 2), x.slice(2, 2, 4), x.slice(2, 4, 8)};
  EXPECT_EQ(joined_view(parts, -1).to_vector<float>(), x.to_vector<float>());
  const Tensor swapped[] = {parts[1], parts[0]};
  EXPECT_FALSE(joined_view(swapped, -1).defined());
  const Tensor strangers[] = {parts[0], parts[1].contiguous_copy()};
  EXPECT_FALSE(joined_view(strangers, -1).defined());
}

TEST(Random, DependsOnKeyAndIndexAlone) {
  const std::vector<float> some = random_normal({1000}, 7).to_vector<float>();
  const std::vector<float> more = random_normal({40, 50}, 7).to_vector<float>();
  EXPECT_TRUE(std::equal(some.begin(), some.end(), more.begin()));
  EXPECT_NE(some, random_normal({1000}, 8).to_vector<float>());
  double mean = 0;
  double square = 0;
  for (const float value : more) {
    mean += value / 2000.0;
    square += value * value / 2000.0;
  }
  EXPECT_NEAR(mean, 0, 0.1);
  EXPECT_NEAR(square, 1, 0.15);
}

}  // namespace
}  // namespace tessera
