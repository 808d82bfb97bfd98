// What a mistyped word was probably meant to be.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tessera {

/// Letters to insert, delete, replace or swap with their neighbour to get from `a` to `b` (optimal string alignment
/// distance), upper and lower case counted as equal.
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate within a third of the word's letters (two at least) that is nearest, or else the only one that begins
/// with the word; none where nothing is near.
std::optional<std::string> nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace tessera
