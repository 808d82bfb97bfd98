// The tensors of a checkpoint's files, by name. Each comes to the host when its turn comes.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "framework/tensor/tensor.h"

namespace tessera {

/// What helps against a damaged checkpoint.
inline constexpr const char* kGoBack = "remove this checkpoint's folder to go on from the one before";

void write_tensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors);

/// Where a saved tensor goes: `to` takes as many of its elements as it has, from number `first` on.
struct Place {
  int64_t first = 0;
  Tensor to;
};
/// A saved tensor must have this shape. Without places it is only checked.
struct Wanted {
  Shape shape;
  std::vector<Place> places;
};

/// All of each.
std::map<std::string, Wanted> wholly_into(const std::map<std::string, Tensor>& tensors);

/// Throws, before anything is changed, if a tensor is missing, left over, or of another shape.
void read_tensors(const std::filesystem::path& path, const std::map<std::string, Wanted>& all);

}  // namespace tessera
