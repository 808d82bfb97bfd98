// NCCL itself. Without a GPU its library is there all the same: every function that is used must be in it.
#include "framework/distributed/communicator_nccl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/autograd/autograd.h"
#include "framework/distributed/gradient_reducer.h"
#include "framework/distributed/start_check.h"
#include "framework/ops.h"
#include "framework/tensor/device_graph.h"
#include "tests/support/devices.h"

namespace tessera {
namespace {

using testing::Each;

TEST(Nccl, ItsLibraryHasWhatIsUsed) {
  const std::string id = make_nccl_id();
  EXPECT_EQ(id.size(), 256);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(id, make_nccl_id());
}

class NcclOfOne : public testing::Test {
 protected:
  void SetUp() override {
    if (test_device().is_cpu()) GTEST_SKIP() << "NCCL needs a GPU, and this machine has none";
    ranks = stream_communicator(open_nccl(make_nccl_id(), test_device(), 0, 1), test_device(), 0, 1);
  }

  std::unique_ptr<Communicator> ranks;
};

TEST_F(NcclOfOne, MovesEveryDType) {
  EXPECT_EQ(ranks->transport(), "NCCL");
  test_collectives(*ranks, test_device());
  for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64, DType::i32, DType::u8}) {
    const Tensor data = Tensor::full({1000}, 3, dtype, test_device());
    ranks->all_reduce(data);
    ranks->reduce_scatter(data);
    ranks->all_gather(data);
    ranks->broadcast(data);
    EXPECT_THAT(data.to(DType::f32).to_vector<float>(), Each(3)) << name_of(dtype);
  }
  ranks->barrier();
  EXPECT_EQ(ranks->connection()->failure(), "");
}

TEST_F(NcclOfOne, IsRecordedInAGraph) {
  const Tensor data = Tensor::full({4096}, 1, DType::f32, test_device());
  DeviceGraph graph(test_device());
  const auto work = [&] {
    ranks->all_reduce(data);
    data.copy_from(ops::scale(Pass::inference().input(data), 2).value());
    ranks->all_reduce(data);
  };
  graph.rehearse(work);
  graph.record(work);
  for (int i = 0; i < 3; ++i) graph.replay();
  EXPECT_THAT(data.to_vector<float>(), Each(16));
}

TEST_F(NcclOfOne, AnAbortedConnectionSaysSo) {
  ranks->connection()->abort();
  EXPECT_NE(ranks->connection()->failure(), "");
  EXPECT_THROW(ranks->all_reduce(Tensor::full({8}, 1, DType::f32, test_device())), ConnectionLost);
}

}  // namespace
}  // namespace tessera
