// GPUs for desktops let a block share 99 KiB of memory (compute capability 8.6 and 8.9): all kernels fit, but for the
// gradient of large heads in double precision.
#ifdef TESSERA_SIMT
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/simt/runtime.h"
#include "tests/kernels/flash_attention/attention_case.h"
#include "tests/support/devices.h"

namespace tessera {
namespace {

class FlashAttentionOnASmallGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (test_device().is_cpu()) GTEST_SKIP() << "the CPU has no shared memory";
    simt::set_shared_memory_limit(99 << 10);
  }
  void TearDown() override { simt::set_shared_memory_limit(before_); }

  static AttentionCase with_heads_of(int64_t size, DType dtype) {
    AttentionCase c{.B = 1, .N = 70, .M = 70, .H = 1, .KvH = 1, .D = size};
    c.fill(1, dtype);
    return c;
  }

 private:
  size_t before_ = simt::shared_memory_limit();
};

TEST_F(FlashAttentionOnASmallGpu, EveryKernelFits) {
  for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::bf16}) {
    for (const int64_t size : {64, 128, 256}) {
      if (dtype == DType::f64 && size > 128) continue;
      AttentionCase c = with_heads_of(size, dtype);
      const AttentionRule rule(c, dtype);
      for (const bool deterministic : {true, false}) {
        c.deterministic = deterministic;
        rule.expect(c);
      }
    }
  }
}

TEST_F(FlashAttentionOnASmallGpu, TheGradientOfLargeHeadsInDoublePrecisionIsRefused) {
  const auto run = [] { run_attention(with_heads_of(136, DType::f64), DType::f64); };
  EXPECT_THAT(run, testing::ThrowsMessage<Error>(testing::HasSubstr(
                       "float64 heads of 136 elements needs 133 KiB of shared memory per block, more than cuda:0 has; "
                       "use heads of up to 128 elements")));
}

}  // namespace
}  // namespace tessera
#endif
