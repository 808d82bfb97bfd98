// What the options that are texts accept.
#pragma once

#include <string_view>

namespace tessera {

/// What a float holds, rounded to something readable.
inline constexpr double kSmallestScale = 1e-37, kLargestScale = 1e38;

/// auto, cpu, cuda or cuda:N.
bool is_device(std::string_view text);

/// all, or indices of devices with commas between.
bool is_device_list(std::string_view text);

/// char, byte or sentencepiece:N.
bool is_tokenizer(std::string_view text);

/// dynamic, off, or a number that a float holds.
bool is_loss_scale(std::string_view text);

bool is_not_empty(std::string_view text);

}  // namespace tessera
