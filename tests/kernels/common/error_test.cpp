#include "kernels/common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/common/select.h"

namespace tessera {
namespace {

TEST(Error, FillsTheHolesInOrder) {
  try {
    fail("op: wanted {} of {}, got {} ({})", 3, "float32", 0.5, true);
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "op: wanted 3 of float32, got 0.5 (true)");
  }
  EXPECT_NO_THROW(expect(true, "never {}", 1));
  EXPECT_THROW(expect(false, "always"), Error);
}

TEST(Select, NamesWhatItAccepts) {
  int bytes = 0;
  select<DType::f32, DType::bf16>("gelu", DType::bf16, [&]<DType T>() { bytes = sizeof(CppType<T>); });
  EXPECT_EQ(bytes, 2);
  try {
    select<DType::f32, DType::bf16>("gelu", DType::i32, []<DType>() {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "gelu: int32 is not supported; use one of float32, bfloat16");
  }
}

}  // namespace
}  // namespace tessera
