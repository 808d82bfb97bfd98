// What every op of several inputs asks of them before it touches their memory.
#pragma once

#include <initializer_list>

#include "framework/autograd/variable.h"
#include "framework/error.h"

namespace tessera::ops {

/// Throws unless all inputs that are given lie on one device.
inline void expect_one_device(const char* op, std::initializer_list<const Variable*> inputs) {
  const Variable* first = nullptr;
  for (const Variable* input : inputs) {
    if (!input->defined()) continue;
    if (first == nullptr) first = input;
    expect(input->device() == first->device(), "{}: one input is on {}, another on {}; move it with to_device", op,
           first->device(), input->device());
  }
}

}  // namespace tessera::ops
