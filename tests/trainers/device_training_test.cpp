// Training on the test device against training on the CPU. Where there is no other device, there is nothing to compare.
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "framework/tensor/allocator.h"
#include "tests/support/devices.h"
#include "tests/support/toy_config.h"
#include "tests/temporary_folder.h"
#include "trainers/samples.h"
#include "trainers/trainer.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

// Before anything asks for a device: the emulated machine has three.
const int three_devices = setenv("TESSERA_SIMT_DEVICES", "3", 0);

class DeviceTraining : public testing::Test {
 protected:
  DeviceTraining() : folder_(fs::temp_directory_path() / ("tessera-device-training-" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
    write_toy_text(folder_, "pack my box with five dozen liquor jugs", 200);
  }
  ~DeviceTraining() override { fs::remove_all(folder_); }

  void SetUp() override {
    if (test_device().is_cpu()) GTEST_SKIP() << "this build or machine has no device besides the CPU";
  }

  Config config(const std::string& device, DType dtype) const {
    Config config = toy_config(folder_);
    config.block_size = 24;
    config.batch_size = 3;
    config.gradient_accumulation_steps = 2;
    config.max_iters = 10;
    config.eval_iters = 4;
    config.learning_rate = 3e-3;
    config.dtype = dtype;
    config.device = device;
    return config;
  }

  fs::path folder_;
};

std::vector<double> ten_losses(const Config& config) {
  Trainer trainer(config);
  std::vector<double> losses;
  for (int i = 0; i < 10; ++i) losses.push_back(trainer.step().train_loss);
  return losses;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance) << "step " << i;
  EXPECT_LT(a.back(), a.front());
}

TEST_F(DeviceTraining, TheLossesAreThoseOfTheCpu) {
  const std::string device = to_string(test_device());
  expect_near(ten_losses(config(device, DType::f32)), ten_losses(config("cpu", DType::f32)), 1e-4);
}

// Every other part of the model: rotary positions, RMS norms, SwiGLU, shared key heads, a window, an output layer of
// its own, each block computed again in backward.
TEST_F(DeviceTraining, SoAreThoseOfALlamaStyleModelThatRecomputes) {
  const auto llama = [&](const std::string& device) {
    Config settings = config(device, DType::f32);
    settings.position = LanguageModel::Position::rotary;
    settings.norm = Norm::Kind::rms;
    settings.activation = FeedForward::Kind::swiglu;
    settings.kv_heads = 1;
    settings.window = 9;
    settings.softcap = 20;
    settings.tie_embeddings = false;
    settings.recompute = true;
    return settings;
  };
  expect_near(ten_losses(llama(to_string(test_device()))), ten_losses(llama("cpu")), 1e-4);
}

TEST_F(DeviceTraining, SoAreThoseOfSgdWithAlibiAndBiases) {
  const auto settings_on = [&](const std::string& device) {
    Config settings = config(device, DType::f32);
    settings.position = LanguageModel::Position::alibi;
    settings.optimizer = Config::Optimizer::sgd;
    settings.learning_rate = 0.1;
    settings.bias = true;
    return settings;
  };
  expect_near(ten_losses(settings_on(to_string(test_device()))), ten_losses(settings_on("cpu")), 1e-4);
}

// A run goes on where it was saved, on whichever device, and evaluates and samples there as on the other.
TEST_F(DeviceTraining, CheckpointsMoveBetweenDevices) {
  const std::string device = to_string(test_device());
  const std::vector<double> straight = ten_losses(config("cpu", DType::f32));
  for (const auto& [from, to] : {std::pair{device, std::string("cpu")}, std::pair{std::string("cpu"), device}}) {
    SCOPED_TRACE(from + " to " + to);
    const CheckpointStore store(folder_ / ("from_" + from), 1);
    Trainer first(config(from, DType::f32));
    for (int i = 0; i < 5; ++i) first.step();
    first.save(store);
    Trainer second(config(to, DType::f32));
    EXPECT_EQ(second.load(*store.latest()), std::vector<std::string>());
    EXPECT_EQ(second.arena().weights().to_vector<float>(), first.arena().weights().to_vector<float>());
    StepReport here, there;
    first.evaluate(here);
    second.evaluate(there);
    EXPECT_NEAR(*here.val_loss, *there.val_loss, 1e-5);
    Config greedy = config(to, DType::f32);
    greedy.temperature = 0;
    greedy.max_new_tokens = 12;
    greedy.start = "pack";
    EXPECT_EQ(draw_samples(first.model(), first.data().tokenizer(), greedy, 1),
              draw_samples(second.model(), second.data().tokenizer(), greedy, 1));
    for (int i = 5; i < 10; ++i) EXPECT_NEAR(second.step().train_loss, straight[i], 1e-4) << "step " << i;
  }
}

TEST_F(DeviceTraining, SixteenBitStaysNearTheCpu) {
  const std::string device = to_string(test_device());
  expect_near(ten_losses(config(device, DType::bf16)), ten_losses(config("cpu", DType::bf16)), 2e-2);
  expect_near(ten_losses(config(device, DType::f16)), ten_losses(config("cpu", DType::f16)), 2e-2);
}

TEST_F(DeviceTraining, BFloat16WeightsWithoutMastersStayNearTheCpu) {
  const auto without_masters = [&](const std::string& device) {
    Config settings = config(device, DType::bf16);
    settings.master_weights = false;
    return ten_losses(settings);
  };
  expect_near(without_masters(to_string(test_device())), without_masters("cpu"), 2e-2);
}

#ifdef TESSERA_SIMT
// After a step that found no memory, the process trains on with a smaller batch.
TEST_F(DeviceTraining, RunningOutOfMemoryEndsTheTrainingAndNotTheProcess) {
  const std::vector<double> expected = ten_losses(config("cuda", DType::f32));  // the libraries have their memory
  release_cached_memory(test_device());
  Config large = config("cuda", DType::f32);
  large.batch_size = 64;
  simt::set_memory_limit(0, simt::memory_in_use(0) + (4 << 20));
  {
    Trainer trainer(large);
    const std::string message = message_of([&] { trainer.step(); });
    EXPECT_THAT(message, testing::AllOf(testing::HasSubstr("cuda:0 is out of memory: "),
                                        testing::HasSubstr("try a smaller batch_size")));
  }
  release_cached_memory(test_device());
  const std::vector<double> small = ten_losses(config("cuda", DType::f32));
  simt::set_memory_limit(0, size_t{8} << 30);
  EXPECT_EQ(small, expected);
}
#endif

TEST_F(DeviceTraining, ParallelAttentionTrainsToTheSameBits) {
  if (cuda_device_count() < 2) GTEST_SKIP() << "this machine has fewer than two GPUs";
  Config alone = config("cuda", DType::f32);
  alone.batch_size = 1;
  alone.gradient_accumulation_steps = 1;
  Config split = alone;
  split.parallel = true;
  const std::vector<double> losses = ten_losses(alone);
  EXPECT_EQ(ten_losses(split), losses);
  split.devices = "0,1";
  EXPECT_EQ(ten_losses(split), losses);
}

TEST_F(DeviceTraining, RerunsAreTheSameBits) {
  const Config settings = config(to_string(test_device()), DType::bf16);
  EXPECT_EQ(ten_losses(settings), ten_losses(settings));
}

}  // namespace
}  // namespace tessera
