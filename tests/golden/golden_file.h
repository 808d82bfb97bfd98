// A file of tensors that another implementation computed, read by name.
#pragma once

#include <cstring>
#include <filesystem>
#include <string>

#include "framework/io/safetensors.h"
#include "framework/tensor/tensor.h"

namespace tessera {

class GoldenFile {
 public:
  /// tests/golden/`name`.safetensors.
  explicit GoldenFile(const std::string& name)
      : file_(SafetensorsFile::open(std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/golden" /
                                    (name + ".safetensors"))) {}

  /// A copy of one tensor. Throws if there is none of that name.
  Tensor tensor(const std::string& name) const {
    const SafetensorsEntry* entry = file_.find(name);
    expect(entry != nullptr, "{} holds no {}", file_.path().string(), name);
    const Tensor copy = Tensor::empty(Shape(entry->shape), entry->dtype);
    std::memcpy(copy.address(), entry->bytes.data(), entry->bytes.size());
    return copy;
  }

 private:
  SafetensorsFile file_;
};

}  // namespace tessera
