// The framing of TensorFlow's record files: a record is its length (u64), the length's checksum (u32), its bytes and
// their checksum (u32), all little-endian. The checksum is CRC-32C, rotated and shifted as the format asks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tessera {

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4).
uint32_t crc32c(std::string_view bytes);

/// The checksum that the format stores: rotated right by 15 bits, plus 0xa282ead8.
uint32_t masked_crc32c(std::string_view bytes);

/// The record that holds `bytes`.
std::string tfrecord(std::string_view bytes);

}  // namespace tessera
