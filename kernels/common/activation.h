// The activations that stand alone and that a matrix product can apply on its way out.
#pragma once

#include <cstdint>
#include <string>

namespace tessera {

/// gelu_tanh: 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))); gelu_exact: 0.5·x·(1 + erf(x/√2)).
/// (Hendrycks and Gimpel, "Gaussian error linear units", 2016, section 2.)
enum class Activation : uint8_t { none, gelu_tanh, gelu_exact };

/// For messages.
inline std::string to_string(Activation activation) {
  switch (activation) {
    case Activation::none: return "none";
    case Activation::gelu_tanh: return "gelu_tanh";
    case Activation::gelu_exact: return "gelu_exact";
  }
  return "?";
}

}  // namespace tessera
