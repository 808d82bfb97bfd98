// FlashAttentionTwo in three calls: self-attention, a key mask, and cross attention.
#include <cstdio>

#include "tessera.h"

using namespace tessera;

namespace {

void show(const char* what, const Variable& out) {
  std::printf("%-16s %s\n", what, to_string(out.shape()).c_str());
  expect(out.shape() == Shape({1, 10, 512}), "{}: the output is {}, not [1, 10, 512]", what, out.shape());
}

}  // namespace

int main() {
  FlashAttentionTwo attention({.dim = 512, .heads = 8, .dim_head = 64});
  initialize(attention, {.seed = 1});
  const Variable x = Pass::inference().input(random_normal({1, 10, 512}, /*key=*/2));

  show("basic", attention(x));

  // true = attend; a numeric mask may hold zeros and ones.
  show("mask", attention(x, {.mask = Tensor::full({1, 10}, 1, DType::f32)}));

  show("context", attention(x, {.context = x.pass().input(random_normal({1, 10, 512}, /*key=*/3))}));
}
