#include "framework/distributed/start_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/error.h"
#include "tests/ranks/ranks.h"

namespace tessera {
namespace {

using testing::StartsWith;

TEST(StartCheck, GathersTextsOfAnyLength) {
  const std::string mine = std::string(static_cast<size_t>(100 * ranks().rank()), 'x') + "\n";
  const std::vector<std::string> texts = gather_texts(ranks(), mine);
  ASSERT_EQ(texts.size(), static_cast<size_t>(ranks().world()));
  for (size_t rank = 0; rank < texts.size(); ++rank) EXPECT_EQ(texts[rank], std::string(100 * rank, 'x') + "\n");
}

TEST(StartCheck, EqualFactsPass) {
  expect_agreement(ranks(), {{"a", "1"}, {"b", "two"}}, "");
  test_collectives(ranks(), Device::cpu());
}

TEST(StartCheck, ADifferenceIsTheSameSentenceEverywhere) {
  if (ranks().world() == 1) GTEST_SKIP() << "one rank agrees with itself";
  const bool other = ranks().rank() == ranks().world() - 1;
  try {
    expect_agreement(ranks(), {{"a", "1"}, {"batch_size", other ? "16" : "12"}, {"c", ""}}, "use one config");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), "rank " + std::to_string(ranks().world() - 1) +
                                " has batch_size = 16 and rank 0 has batch_size = 12; use one config");
  }
}

TEST(StartCheck, AFingerprintChangesWithAnyBit) {
  const Tensor a = Tensor::zeros({1001}, DType::f32);
  const std::string before = fingerprint(a);
  for (const int64_t i : {0, 1, 500, 1000}) {
    Tensor b = Tensor::zeros({1001}, DType::f32);
    static_cast<float*>(b.address())[i] = -0.0F;
    EXPECT_NE(fingerprint(b), before) << i;
  }
  EXPECT_EQ(fingerprint(Tensor::zeros({1001}, DType::f32)), before);
  EXPECT_EQ(program_fingerprint(), program_fingerprint());
}

// A transport that loses a part of what it carries, as some machines' peer-to-peer copies do.
class LossyCommunicator final : public Communicator {
 public:
  LossyCommunicator() : Communicator(0, 2) {}
  std::string_view transport() const override { return "copies"; }
  Ticket start_all_reduce(const Tensor& data, Reduction) override {
    std::vector<float> values = data.to_vector<float>();
    for (float& value : values) value *= 3;
    if (values.size() > 1) values[values.size() - 1] = 0;
    data.copy_from(Tensor::from(values, data.shape()));
    return 0;
  }
  Ticket start_reduce_scatter(const Tensor&) override { return 0; }
  Ticket start_all_gather(const Tensor&) override { return 0; }
  Ticket start_broadcast(const Tensor&, int) override { return 0; }
  void wait(Ticket) override {}
  void barrier() override {}
};

TEST(StartCheck, ATransportThatLosesDataIsNoticed) {
  LossyCommunicator lossy;
  try {
    test_collectives(lossy, Device::cpu());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                StartsWith("the ranks' first all-reduce over copies gave 0 instead of 27 in element 999"));
  }
}

}  // namespace
}  // namespace tessera
