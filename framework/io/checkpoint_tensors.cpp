#include "framework/io/checkpoint_tensors.h"

#include <algorithm>

#include "framework/io/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBuildAlike = "build the model and the optimizer with the settings that it was saved with";

// Every name must be there with the same shape, and no other.
void check_names(const SafetensorsFile& file, const std::map<std::string, Wanted>& all) {
  for (const auto& [name, wanted] : all) {
    const SafetensorsEntry* entry = file.find(name);
    expect(entry != nullptr, "checkpoint {}: it has no tensor '{}', which is wanted here; {}", file.path().string(),
           name, kBuildAlike);
    expect(std::ranges::equal(entry->shape, wanted.shape), "checkpoint {}: '{}' is {} there and {} in this model; {}",
           file.path().string(), name, Shape(std::span<const int64_t>(entry->shape)), wanted.shape, kBuildAlike);
    expect(is_floating(entry->dtype), "checkpoint {}: '{}' holds {}, not numbers; {}", file.path().string(), name,
           entry->dtype, kGoBack);
  }
  for (const SafetensorsEntry& entry : file.entries()) {
    expect(all.contains(entry.name), "checkpoint {}: its tensor '{}' has no place in this model; {}",
           file.path().string(), entry.name, kBuildAlike);
  }
}

SafetensorsFile open_tensors(const fs::path& path) {
  try {
    return SafetensorsFile::open(path);
  } catch (const Error& failure) {
    fail("checkpoint {}; {}", failure.what(), kGoBack);
  }
}

}  // namespace

void write_tensors(const fs::path& path, const std::map<std::string, Tensor>& tensors) {
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, tensor] : tensors) {
    entries.push_back(
        {.name = name, .dtype = tensor.dtype(), .shape = {tensor.shape().begin(), tensor.shape().end()}, .bytes = {}});
  }
  Tensor held;
  const auto fetch = [&](const SafetensorsEntry& entry) {
    held = tensors.at(entry.name).to_contiguous().to(Device::cpu());
    return std::span(static_cast<const std::byte*>(held.address()), static_cast<size_t>(held.nbytes()));
  };
  write_safetensors(path, entries, {{"format", "pt"}}, fetch);
}

std::map<std::string, Wanted> wholly_into(const std::map<std::string, Tensor>& tensors) {
  std::map<std::string, Wanted> all;
  for (const auto& [name, tensor] : tensors) all[name] = {tensor.shape(), {{0, tensor}}};
  return all;
}

void read_tensors(const fs::path& path, const std::map<std::string, Wanted>& all) {
  const SafetensorsFile file = open_tensors(path);
  check_names(file, all);
  for (const auto& [name, wanted] : all) {
    if (wanted.places.empty()) continue;
    const SafetensorsEntry& entry = *file.find(name);
    const Tensor host = Tensor::empty({wanted.shape.numel()}, entry.dtype);
    std::copy(entry.bytes.begin(), entry.bytes.end(), static_cast<std::byte*>(host.address()));
    for (const auto& [first, to] : wanted.places) {
      const Tensor piece = host.slice(0, first, first + to.numel()).view(to.shape());
      to.copy_from(piece.to(to.dtype()).to(to.device()));
    }
  }
}

}  // namespace tessera
