#include "tests/conformance/conformance.h"

#include <cmath>
#include <map>
#include <sstream>

#include "kernels/common/error.h"
#include "kernels/common/half.h"

namespace tessera::conformance {
namespace {

bool is_nan(uint32_t bits, Format format) {
  if (format == Format::f32) return std::isnan(bits_as<float>(bits));
  if (format == Format::f16_pairs) return (bits & 0x7fffu) > 0x7c00u;
  return format == Format::bf16_pairs && (bits & 0x7fffu) > 0x7f80u;
}

bool agree(uint32_t one, uint32_t other, Format format) {
  if (one == other || (is_nan(one, format) && is_nan(other, format))) return true;
  if (format != Format::f16_pairs && format != Format::bf16_pairs) return false;
  const auto halves_agree = [format](uint32_t a, uint32_t b) {
    return (a & 0xffffu) == (b & 0xffffu) || (is_nan(a, format) && is_nan(b, format));
  };
  return halves_agree(one, other) && halves_agree(one >> 16, other >> 16);
}

bool close(uint32_t one, uint32_t other, const Case& shape) {
  if (agree(one, other, shape.format)) return true;
  const double a = bits_as<float>(one), b = bits_as<float>(other);
  if (shape.closeness == Closeness::bits || !std::isfinite(a) || !std::isfinite(b)) return false;
  if (shape.closeness == Closeness::product) return std::fabs(a - b) <= 0x1p-18;
  return std::fabs(a - b) <= 0x1p-22 * std::max(std::fabs(a), std::fabs(b));
}

std::string hexadecimal(uint32_t bits) {
  const char* digits = "0123456789abcdef";
  std::string text(8, '0');
  for (int i = 0; i < 8; ++i) text[static_cast<size_t>(7 - i)] = digits[bits >> (4 * i) & 15];
  return text;
}

}  // namespace

std::string text_of(const std::vector<Case>& cases) {
  std::string text;
  for (const Case& one : cases) {
    text += one.name + ":";
    for (const uint32_t bits : one.outputs) text += " " + hexadecimal(bits);
    text += "\n";
  }
  return text;
}

std::string difference(const Case& shape, const std::vector<uint32_t>& one, const std::vector<uint32_t>& other) {
  if (one.size() != other.size())
    return format_message("{}: {} outputs, not {}", {shape.name, one.size(), other.size()});
  for (size_t i = 0; i < one.size(); ++i) {
    if (close(one[i], other[i], shape)) continue;
    return format_message("{}: output {} is {}, not {}", {shape.name, i, hexadecimal(one[i]), hexadecimal(other[i])});
  }
  return "";
}

std::vector<std::string> differences(const std::vector<Case>& cases, const std::string& golden) {
  std::map<std::string, std::vector<uint32_t>> expected;
  std::istringstream lines(golden);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.starts_with("#")) continue;
    std::istringstream numbers(line.substr(colon + 1));
    auto& outputs = expected[line.substr(0, colon)];
    for (std::string number; numbers >> number;)
      outputs.push_back(static_cast<uint32_t>(std::stoul(number, nullptr, 16)));
  }
  std::vector<std::string> wrong;
  for (const Case& one : cases) {
    const auto found = expected.find(one.name);
    std::string said = found == expected.end() ? one.name + ": the golden file does not have it"
                                               : difference(one, one.outputs, found->second);
    if (!said.empty()) wrong.push_back(std::move(said));
  }
  return wrong;
}

}  // namespace tessera::conformance
