// Tensors whose halves lie further apart than 32 bits can count elements: one half in device memory, the other in
// managed memory, which the emulated device has half of its addresses further on.
#ifdef TESSERA_SIMT
#include <gtest/gtest.h>

#include "kernels/flash_attention/flash_attention.h"
#include "tests/kernels/array.h"

namespace tessera {
namespace {

/// A copy of an array [B, N, H, D], cut in two along an axis of extent 2.
class FarApart {
 public:
  FarApart(const Array& values, int axis) : view_(values.in<4>()) {
    const std::array<int64_t, 4> shape = view_.shape;
    half_bytes_ = static_cast<size_t>(values.numel() / 2 * size_of(values.dtype()));
    EXPECT_EQ(shape[axis], 2);
    cuda_check(cudaMalloc(&near_, half_bytes_), "cudaMalloc");
    cuda_check(cudaMallocManaged(&far_, half_bytes_), "cudaMallocManaged");
    const int64_t distance = (static_cast<char*>(far_) - static_cast<char*>(near_)) / size_of(values.dtype());
    EXPECT_GT(distance, int64_t{1} << 31);
    int64_t stride = 1;
    for (int i = 3; i >= 0; --i) {
      view_.strides[i] = i == axis ? distance : stride;
      stride *= i == axis ? 1 : shape[i];
    }
    view_.data = near_;
    const std::vector<std::byte> bytes = values.bytes();
    each_row([&](void* row, size_t at, size_t size) {
      cudaMemcpyAsync(row, bytes.data() + at, size, cudaMemcpyHostToDevice, nullptr);
    });
  }
  ~FarApart() {
    cudaFree(near_);
    cudaFree(far_);
  }
  FarApart(const FarApart&) = delete;
  FarApart& operator=(const FarApart&) = delete;

  In<4> in() const { return view_; }
  Out<4> out() const { return {near_, view_.dtype, view_.shape, view_.strides}; }
  /// Those of an array without gaps.
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all(2 * half_bytes_);
    each_row([&](void* row, size_t at, size_t size) {
      cudaMemcpyAsync(all.data() + at, row, size, cudaMemcpyDeviceToHost, nullptr);
    });
    return all;
  }

 private:
  /// Calls body(address, place in an array without gaps, bytes) for every [D].
  template <class Body>
  void each_row(Body body) const {
    const auto [B, N, H, D] = view_.shape;
    const auto size = static_cast<size_t>(D * size_of(view_.dtype));
    for (int64_t row = 0; row < B * N * H; ++row) {
      const int64_t offset =
          row / (N * H) * view_.strides[0] + row / H % N * view_.strides[1] + row % H * view_.strides[2];
      body(static_cast<char*>(near_) + offset * size_of(view_.dtype), static_cast<size_t>(row) * size, size);
    }
  }

  In<4> view_;
  size_t half_bytes_ = 0;
  void *near_ = nullptr, *far_ = nullptr;
};

struct Problem {
  int axis;
  int64_t batch, length, heads, width;
};

class FlashAttentionFarApart : public testing::TestWithParam<Problem> {
 protected:
  void SetUp() override {
    if (test_device().is_cpu()) GTEST_SKIP() << "the memory of the emulated device";
  }

  void expect_the_same(DType dtype, bool deterministic) const {
    const auto [axis, batch, length, heads, width] = GetParam();
    const std::vector<int64_t> shape{batch, length, heads, width};
    const Array q = Array::random(dtype, shape, 1), k = Array::random(dtype, shape, 2),
                v = Array::random(dtype, shape, 3), dout = Array::random(dtype, shape, 4);
    Array out(dtype, shape), dq(dtype, shape), dk(dtype, shape), dv(dtype, shape);
    Array lse(accumulate_dtype(dtype), {batch, heads, length});
    const FarApart far_q(q, axis), far_k(k, axis), far_v(v, axis), far_dout(dout, axis);
    const FarApart far_out(out, axis), far_dq(dq, axis), far_dk(dk, axis), far_dv(dv, axis);
    AttentionOptions options{.scale = 0.25};
    options.causal = true;
    options.deterministic = deterministic;
    const auto run = [&](In<4> q, In<4> k, In<4> v, In<4> dout, Out<4> out, Out<4> dq, Out<4> dk, Out<4> dv) {
      run_on_test_device(
          FlashAttentionForward{.q = q, .k = k, .v = v, .options = options, .out = out, .lse = lse.out<3>()});
      run_on_test_device(FlashAttentionBackward{.dout = dout,
                                                .q = q,
                                                .k = k,
                                                .v = v,
                                                .out = {out.data, out.dtype, out.shape, out.strides},
                                                .lse = lse.in<3>(),
                                                .options = options,
                                                .dq = dq,
                                                .dk = dk,
                                                .dv = dv});
    };
    run(q.in<4>(), k.in<4>(), v.in<4>(), dout.in<4>(), out.out<4>(), dq.out<4>(), dk.out<4>(), dv.out<4>());
    run(far_q.in(), far_k.in(), far_v.in(), far_dout.in(), far_out.out(), far_dq.out(), far_dk.out(), far_dv.out());
    EXPECT_TRUE(far_out.bytes() == out.bytes()) << "out";
    EXPECT_TRUE(far_dk.bytes() == dk.bytes()) << "dk";
    EXPECT_TRUE(far_dv.bytes() == dv.bytes()) << "dv";
    EXPECT_TRUE(!deterministic || far_dq.bytes() == dq.bytes()) << "dq";
  }
};

TEST_P(FlashAttentionFarApart, GivesTheSameBits) {
  for (const DType dtype : {DType::bf16, DType::f32, DType::f64}) {
    for (const bool deterministic : {true, false}) {
      SCOPED_TRACE(testing::Message() << to_string(dtype) << (deterministic ? "" : ", atomic"));
      expect_the_same(dtype, deterministic);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Samples, FlashAttentionFarApart,
                         testing::Values(Problem{0, 2, 40, 1, 32}, Problem{0, 2, 40, 1, 20}));
INSTANTIATE_TEST_SUITE_P(Rows, FlashAttentionFarApart, testing::Values(Problem{1, 1, 2, 2, 32}));
INSTANTIATE_TEST_SUITE_P(Heads, FlashAttentionFarApart, testing::Values(Problem{2, 1, 40, 2, 32}));

}  // namespace
}  // namespace tessera
#endif
