// One instruction at a time: every device word (kernels/common/cuda/words.cuh) on fixed random inputs. The same kernels
// run on a GPU and on the emulator. What a GPU gave is kept in tests/golden/conformance_*.txt, and the emulator is held
// to it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tessera::conformance {

/// How far two outputs of a word may lie apart.
enum class Closeness {
  bits,     ///< not at all; NaN is as good as NaN
  product,  ///< floats, 2^-18: sums of 16 products of numbers up to 1, added in any order, their last bits cut off
  ulps,     ///< floats, 2 units in the last place
};

enum class Format { bits, f32, f16_pairs, bf16_pairs };

/// One word on one set of inputs.
struct Case {
  std::string name;
  std::vector<uint32_t> inputs, outputs;
  Closeness closeness;
  Format format;  ///< of the outputs
};

/// Runs everything on device 0. Throws `Error` where there is none.
std::vector<Case> run_all();

/// One line per case, `name: hexadecimal outputs…`.
std::string text_of(const std::vector<Case>& cases);

/// Why `other` is not what `one` is, as far as the closeness allows; empty where it is. Both [outputs].
std::string difference(const Case& shape, const std::vector<uint32_t>& one, const std::vector<uint32_t>& other);

/// What is wrong with `cases` by a text that `text_of` made elsewhere, one line per case that differs or that it lacks.
std::vector<std::string> differences(const std::vector<Case>& cases, const std::string& golden);

}  // namespace tessera::conformance
