// What the tests of training over several ranks share: a toy in a folder that all ranks see, and comparisons of
// weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "framework/distributed/agreement.h"
#include "tests/ranks/ranks.h"
#include "tests/support/devices.h"
#include "tests/support/toy_config.h"
#include "trainers/trainer.h"

namespace tessera {

/// The ranks' communicator, as what a Trainer takes; it is not the Trainer's to destroy.
inline std::shared_ptr<Communicator> shared_ranks() { return {std::shared_ptr<void>(), &ranks()}; }

/// A folder that all ranks see; rank 0 makes and removes it.
class RanksTest : public testing::Test {
 protected:
  RanksTest() {
    const std::string name = "tessera-ranks-test-" + std::to_string(getpid());
    folder_ = broadcast_text((std::filesystem::temp_directory_path() / name).string(), 0, ranks());
    if (ranks().rank() == 0) {
      std::filesystem::create_directories(folder_);
      write_toy_text(folder_, "the quick brown fox jumps over the lazy dog", 400);
    }
    ranks().barrier();
  }
  ~RanksTest() override {
    ranks().barrier();
    if (ranks().rank() == 0) std::filesystem::remove_all(folder_);
  }

  Config config() const {
    Config config = toy_config(folder_);
    config.block_size = 32;
    config.batch_size = 12;
    config.max_iters = 40;
    config.learning_rate = 1e-3;
    config.eval_iters = 3;
    config.device = to_string(test_device());
    config.first_bucket_mb = 0.01;
    config.bucket_mb = 0.03;
    return config;
  }

  std::filesystem::path folder_;
};

/// The relative norm of the difference.
inline double relative_difference(const Tensor& a, const Tensor& b) {
  const std::vector<float> x = a.to(DType::f32).to_vector<float>();
  const std::vector<float> y = b.to(DType::f32).to_vector<float>();
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(double{x[i]} - double{y[i]}, 2);
    norm += std::pow(double{y[i]}, 2);
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

/// Of all weights; nothing where only rank 0 has them all.
inline std::vector<float> values_of(const Tensor& weights) {
  return weights.defined() ? weights.to_vector<float>() : std::vector<float>();
}

/// Every tensor within `bound` of the reference's, as a relative norm.
inline void expect_same_parameters(const Trainer& trainer, const Trainer& reference, double bound) {
  const Tensor weights = trainer.weights(), expected = reference.weights();
  if (!weights.defined()) return;
  for (const ParameterArena::Entry& entry : reference.arena().entries()) {
    EXPECT_LE(relative_difference(weights.slice(0, entry.begin, entry.end), expected.slice(0, entry.begin, entry.end)),
              bound)
        << entry.parameter->name;
  }
}

}  // namespace tessera
