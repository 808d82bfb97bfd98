// Kernels that treat element by element, and copies.
#pragma once

#include "benchmarks/device_tasks.h"
#include "kernels/dropout/dropout.h"
#include "kernels/elementwise/add.h"
#include "kernels/elementwise/gelu.h"
#include "kernels/elementwise/mul.h"
#include "kernels/elementwise/scale.h"
#include "kernels/elementwise/silu.h"
#include "kernels/elementwise/swiglu.h"
#include "kernels/memory/memory.h"
#include "kernels/rotary/rotary.h"

namespace tessera {

inline void add_activations(const Maker& make, const Tensor& a, const Tensor& b, const Tensor& y,
                            std::vector<Task>& tasks) {
  const std::string type = " " + to_string(make.dtype());
  const In<1> x = a.view({-1}).in<1>(), dy = b.view({-1}).in<1>();
  const Out<1> out = y.view({-1}).out<1>();
  for (const auto& [name, activation] :
       {std::pair("gelu_tanh", Activation::gelu_tanh), std::pair("gelu", Activation::gelu_exact)}) {
    tasks.push_back(task(name + type, {a, y}, Gelu{.x = x, .activation = activation, .y = out}));
    tasks.push_back(task(name + (" backward" + type), {a, b, y},
                         GeluBackward{.x = x, .dy = dy, .activation = activation, .dx = out}));
  }
  tasks.push_back(task("silu" + type, {a, y}, Silu{.x = x, .y = out}));
  tasks.push_back(task("silu backward" + type, {a, b, y}, SiluBackward{.x = x, .dy = dy, .dx = out}));
  const int64_t rows = make.rows() / 2;
  const Tensor half = y.slice(0, 0, rows), pairs = a.view({rows, 2 * kWidth}), d_pairs = b.view({rows, 2 * kWidth});
  tasks.push_back(task("swiglu" + type, {a, half}, SwiGlu{.gate_up = pairs.in<2>(), .y = half.out<2>()}));
  tasks.push_back(task("swiglu backward" + type, {a, half, b},
                       SwiGluBackward{.gate_up = pairs.in<2>(), .dy = half.in<2>(), .d_gate_up = d_pairs.out<2>()}));
}

/// A conversion to the other width, a transpose, and heads brought side by side as attention wants them.
inline void add_copies(const Maker& make, const Tensor& a, const Tensor& y, std::vector<Task>& tasks) {
  const std::string type = " " + to_string(make.dtype());
  const Tensor other = make.matrix(make.dtype() == DType::f32 ? DType::bf16 : DType::f32);
  tasks.push_back(task("convert" + type, {a, other}, Copy{.x = a.in<5>(), .y = other.out<5>()}));
  const Tensor turned = y.view({kWidth, make.rows()}).transpose(0, 1);
  tasks.push_back(task("transpose" + type, {a, y}, Copy{.x = a.in<5>(), .y = turned.out<5>()}));
  const Tensor heads = a.view({make.rows(), kHeads, kWidth / kHeads}).transpose(0, 1);
  tasks.push_back(task("heads apart" + type, {a, y},
                       Copy{.x = heads.in<5>(), .y = y.view({kHeads, make.rows(), kWidth / kHeads}).out<5>()}));
  const Tensor filled = y.view({-1});
  tasks.push_back(task("fill" + type, {y}, Fill{.y = filled.out<1>(), .value = 1}));
}

inline void add_elementwise(const Maker& make, std::vector<Task>& tasks) {
  const std::string type = " " + to_string(make.dtype());
  const Tensor a = make.matrix(), b = make.matrix(), y = make.matrix();
  const auto flat = [](const Tensor& x) { return x.view({-1}); };
  tasks.push_back(task("add" + type, {a, b, y}, Add{.a = four(a), .b = four(b), .y = four_out(y)}));
  tasks.push_back(task("mul" + type, {a, b, y}, Mul{.a = four(a), .b = four(b), .y = four_out(y)}));
  tasks.push_back(task("scale" + type, {a, y}, Scale{.x = flat(a).in<1>(), .factor = 2, .y = flat(y).out<1>()}));
  add_copies(make, a, y, tasks);
  add_activations(make, a, b, y, tasks);
  tasks.push_back(task("dropout" + type, {a, y},
                       Dropout{.x = a.in<2>(), .residual = {}, .p = 0.1f, .key = 1, .first_row = 0, .y = y.out<2>()}));
  const Shape heads{1, make.rows(), kHeads, kWidth / kHeads};
  tasks.push_back(task("rotary" + type, {a, y},
                       Rotary{.x = a.view(heads).in<4>(),
                              .positions = {},
                              .start = 0,
                              .base = 10000,
                              .direction = RotaryDirection::forward,
                              .y = y.view(heads).out<4>()}));
}

}  // namespace tessera
