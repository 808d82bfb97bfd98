#include "framework/tensor/allocator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/tensor/tensor.h"
#include "kernels/common/host_scratch.h"
#include "tests/support/devices.h"
#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

TEST(Allocator, HandsFreedBlocksOutAgain) {
  const Device device = test_device();
  { const Tensor first = Tensor::empty({1000}, DType::f32, device); }
  const AllocatorStats before = allocator_stats(device);
  { const Tensor second = Tensor::empty({990}, DType::f32, device); }
  const AllocatorStats after = allocator_stats(device);
  EXPECT_EQ(after.system_allocations, before.system_allocations);
  EXPECT_EQ(after.requests, before.requests + 1);
  EXPECT_EQ(after.bytes_in_use, before.bytes_in_use);
}

TEST(Allocator, HandsOutFirstWhatCameBackLast) {
  const auto make = [] { return Tensor::empty({1000}, DType::f32, test_device()); };
  std::vector<Tensor> tensors{make(), make(), make()};
  const void* const last = tensors[1].address();
  tensors[0] = tensors[2] = Tensor();
  tensors[1] = Tensor();
  EXPECT_EQ(make().address(), last);
}

TEST(Allocator, KeepsTheScratchMemoryOfKernels) {
  const AllocatorStats before = allocator_stats(Device::cpu());
  { const HostScratch first(3 << 20); }
  { const HostScratch second(3 << 20); }
  const AllocatorStats after = allocator_stats(Device::cpu());
  EXPECT_EQ(after.requests, before.requests + 2);
  EXPECT_LE(after.system_allocations, before.system_allocations + 1);
  EXPECT_EQ(after.bytes_in_use, before.bytes_in_use);
}

// Small blocks are cut from slabs, which stay: giving memory back must neither lose them nor count them as gone.
TEST(Allocator, SmallBlocksOutliveTheReleaseOfCachedMemory) {
  { const Tensor warm = Tensor::empty({1000}, DType::f32); }
  release_cached_memory(Device::cpu());
  const AllocatorStats before = allocator_stats(Device::cpu());
  const Tensor again = Tensor::zeros({1000}, DType::f32);
  const AllocatorStats after = allocator_stats(Device::cpu());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(again.address()) % 64, 0U);
  EXPECT_GE(after.bytes_cached, 0);
  EXPECT_EQ(after.bytes_in_use + after.bytes_cached - before.bytes_in_use - before.bytes_cached,
            after.system_allocations == before.system_allocations ? 0 : 4096);
}

TEST(Allocator, LargeBlocksGoBackToTheSystem) {
  { const Tensor warm = Tensor::empty({1 << 20}, DType::f32); }
  const int64_t before = allocator_stats(Device::cpu()).bytes_cached;
  release_cached_memory(Device::cpu());
  EXPECT_LE(allocator_stats(Device::cpu()).bytes_cached, before - (4 << 20));
}

TEST(Allocator, SaysWhatForAndWhoUsesMostWhenThereIsNoMore) {
  const Tensor weights = Tensor::zeros({1 << 20}, DType::f32, {}, "the weights");
  const Tensor a = Tensor::empty({512, 512}, DType::f32), b = Tensor::empty({512, 512}, DType::f32);
  const std::string message = message_of([] {
    Tensor::empty({int64_t{1} << 20, int64_t{1} << 30}, DType::f32, {}, "the activations");
  });
  EXPECT_THAT(message, AllOf(HasSubstr("cpu is out of memory: 4194304 GiB were asked for the activations, float32 "
                                       "[1048576, 1073741824]"),
                             HasSubstr("the weights, float32 [1048576]: 4096 KiB"),
                             HasSubstr("a tensor, float32 [512, 512] (2 of them): 2048 KiB"),
                             HasSubstr("try a smaller batch_size")));
  const Tensor after = Tensor::full({2}, 3, DType::f32);
  EXPECT_EQ(after.to_vector<float>(), (std::vector<float>{3, 3}));
}

#ifdef TESSERA_SIMT
TEST(Allocator, ADeviceWithoutMemoryStaysUsable) {
  const Device device = Device::cuda(0);
  release_cached_memory(device);
  simt::set_memory_limit(0, simt::memory_in_use(0) + (size_t{64} << 20));
  {
    const Tensor kept = Tensor::full({4 << 20}, 2, DType::f32, device);
    { const Tensor cached = Tensor::empty({5 << 20}, DType::f32, device); }
    const Tensor takes_what_was_cached = Tensor::empty({8 << 20}, DType::f32, device);
    const std::string message = message_of([&] { Tensor::empty({9 << 20}, DType::f32, device); });
    EXPECT_THAT(message, AllOf(HasSubstr("cuda:0 is out of memory: 36 MiB were asked for"), HasSubstr("MiB in use of "),
                               // between them what earlier tests have left, such as the workspace of products
                               ContainsRegex("a tensor, float32 \\[8388608\\]: 32 MiB, .*a tensor, float32 "
                                             "\\[4194304\\]: 16 MiB")));
    EXPECT_EQ(kept.slice(0, 0, 2).to_vector<float>(), (std::vector<float>{2, 2}));
  }
  const Tensor fits_now = Tensor::full({9 << 20}, 1, DType::f32, device);
  EXPECT_EQ(fits_now.slice(0, 0, 1).item(), 1);
  simt::set_memory_limit(0, size_t{8} << 30);
}
#endif

}  // namespace
}  // namespace tessera
