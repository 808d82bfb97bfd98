// The smallest transformer that the tests of training share. What a test is about it sets itself.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "trainers/config/config.h"

namespace tessera {

/// Two layers of width 32 with dropout, on the CPU, for a text in `folder`: write_toy_text() makes it.
inline Config toy_config(const std::filesystem::path& folder) {
  Config config;
  config.data = (folder / "text.txt").string();
  config.n_layer = 2;
  config.n_head = 2;
  config.n_embd = 32;
  config.dropout = 0.1;
  config.warmup_iters = 0;
  config.device = "cpu";
  return config;
}

/// `times` times the sentence and a digit.
inline void write_toy_text(const std::filesystem::path& folder, const std::string& sentence, int times) {
  std::ofstream text(folder / "text.txt");
  for (int i = 0; i < times; ++i) text << sentence << " " << i % 9 << ". ";
}

}  // namespace tessera
