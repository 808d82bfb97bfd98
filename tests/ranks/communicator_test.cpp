// Collectives over as many ranks as were started, against what they must give.
#include "framework/distributed/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ranks/ranks.h"

namespace tessera {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

// Element i of rank r is r + i, small enough for every dtype.
Tensor sample(int64_t size, DType dtype, int rank) {
  std::vector<float> values;
  for (int64_t i = 0; i < size; ++i) values.push_back(static_cast<float>(rank + i % 7));
  return Tensor::from(values, {size}).to(dtype);
}

double sum_of_ranks() { return ranks().world() * (ranks().world() - 1) / 2.0; }

TEST(Communicator, KnowsItsRank) {
  EXPECT_GE(ranks().rank(), 0);
  EXPECT_LT(ranks().rank(), ranks().world());
  EXPECT_EQ(ranks().transport(), ranks().world() > 1 ? "MPI" : "nothing");
}

TEST(Communicator, SumsEveryDType) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    for (const int64_t size : {1, 3, 1000, 2'100'001}) {
      const Tensor data = sample(size, dtype, ranks().rank());
      ranks().all_reduce(data);
      const std::vector<float> sums = data.to(DType::f32).to_vector<float>();
      for (int64_t i = 0; i < size; ++i)
        ASSERT_EQ(sums[static_cast<size_t>(i)], sum_of_ranks() + ranks().world() * (i % 7))
            << name_of(dtype) << " " << i;
    }
  }
}

TEST(Communicator, FindsTheLargestAndTheLeast) {
  const Tensor data = Tensor::from(std::vector<int64_t>{ranks().rank(), -ranks().rank()}, {2});
  ranks().all_reduce(data, Communicator::Reduction::max);
  EXPECT_THAT(data.to_vector<int64_t>(), ElementsAre(ranks().world() - 1, 0));
  const Tensor least = Tensor::from(std::vector<int32_t>{ranks().rank(), -ranks().rank()}, {2});
  ranks().all_reduce(least, Communicator::Reduction::min);
  EXPECT_THAT(least.to_vector<int32_t>(), ElementsAre(0, 1 - ranks().world()));
}

TEST(Communicator, ANonFiniteValueOfOneRankReachesAll) {
  const bool last = ranks().rank() == ranks().world() - 1;
  const Tensor data = Tensor::full({5}, last ? INFINITY : 1, DType::f32);
  ranks().all_reduce(data);
  EXPECT_THAT(data.to_vector<float>(), Each(INFINITY));
}

// Long parts travel in pieces, the last one shorter.
TEST(Communicator, AReduceScatterAndAnAllGatherMakeAnAllReduce) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t part : {37, 2'100'001}) {
      const Tensor data = sample(part * ranks().world(), dtype, ranks().rank());
      const Tensor expected = data.contiguous_copy();
      ranks().all_reduce(expected);
      ranks().reduce_scatter(data);
      const auto own = [&](const Tensor& whole) {
        const int64_t begin = ranks().rank() * part;
        return whole.slice(0, begin, begin + part).to(DType::f32).to_vector<float>();
      };
      EXPECT_EQ(own(data), own(expected));
      ranks().all_gather(data);
      EXPECT_EQ(data.to(DType::f32).to_vector<float>(), expected.to(DType::f32).to_vector<float>());
    }
  }
}

TEST(Communicator, BroadcastsFromAnyRank) {
  const int root = ranks().world() - 1;
  const Tensor data = Tensor::full({1000}, ranks().rank(), DType::f32);
  ranks().broadcast(data, root);
  EXPECT_THAT(data.to_vector<float>(), Each(root));
}

TEST(Communicator, ManyCollectivesMayBeUnderWay) {
  std::vector<Tensor> tensors;
  Communicator::Ticket last = 0;
  for (int i = 0; i < 20; ++i) {
    tensors.push_back(Tensor::full({1000 + i}, i, DType::f32));
    last = ranks().start_all_reduce(tensors.back(), Communicator::Reduction::sum);
  }
  ranks().wait(last);
  for (int i = 0; i < 20; ++i)
    EXPECT_THAT(tensors[static_cast<size_t>(i)].to_vector<float>(), Each(static_cast<float>(i * ranks().world())));
  ranks().barrier();
}

TEST(Communicator, RefusesWhatDoesNotSplit) {
  if (ranks().world() == 1) GTEST_SKIP() << "one part always fits";
  try {
    ranks().reduce_scatter(Tensor::zeros({2 * ranks().world() + 1}, DType::f32));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("equal parts"));
  }
}

}  // namespace
}  // namespace tessera
