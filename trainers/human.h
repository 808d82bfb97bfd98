// Numbers as people like to read them.
#pragma once

#include <cstdint>
#include <string>

namespace tessera {

/// Three significant digits and a magnitude: 987, 12.3k, 4.56M, 1.2G.
std::string human_count(double value);

/// The value with so many decimals; `nan` without the sign that some hardware gives it, or `inf`.
std::string human_real(double value, int decimals);

/// Four decimals, and an exponent where they would hide the value or fill the line: 1.6556, 2.7e-06, 2.2e+57.
std::string human_loss(double value);

/// A count with its thousands apart: 491,520.
std::string human_integer(int64_t value);

/// 4.2s, 45s, 1m20s, 2h03m, 3d04h.
std::string human_duration(double seconds);

/// 512 B, 1.5 MiB, 3.2 GiB.
std::string human_bytes(int64_t bytes);

}  // namespace tessera
